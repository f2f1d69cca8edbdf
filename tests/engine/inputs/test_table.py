"""Tables: columns by name, a row at a time, and one line for whatever is wrong with a file."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pyarrow.parquet as parquet
import pytest
from support.small import INT64, node, small, value

import onnxplain
from onnxplain import InvalidInputError
from onnxplain.engine.inputs import read_input

NAMES = ["age", "mass", "height", "size"]
W = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


def linear(names=NAMES, features=4, w=W, kind=1):
    """y = x W, so that what is right is x W itself; with `feature_names`, if any."""
    nodes = [node("Cast", ["x"], ["f"], to=1), node("MatMul", ["f", "w"], ["y"])]
    model = small(nodes, [value("x", ["N", features], kind)], [value("y", ["N", 3])], {"w": w})
    if names is not None:
        onnx.helper.set_model_props(model, {"feature_names": json.dumps(names)})
    return model


def table(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


ROWS = {
    "another order, more columns": "id,size,height,mass,age\nx,4,3,2,1\ny,8,7,6,5\n",
    "separated by semicolons": "age;mass;height;size\n1;2;3;4\n5;6;7;8\n",
    "quoted": '"age","mass","height","size"\r\n"1","2","3","4"\r\n5,6,7,8\r\n',
    "a byte order mark, no last line end": b"\xef\xbb\xbfage,mass,height,size\n1,2,3,4\n5,6,7,8",
    "empty lines, spaces": "age, mass, height, size\n\n1, 2, 3, 4\n\n,,,\n5, 6, 7, 8\n\n",
    "exponents": "age,mass,height,size\n1e0,+2,3.,4\n5,0.6e1,7,8\n",
    "no names in the file, in order": "a,b,c,d\n1,2,3,4\n5,6,7,8\n",
    "columns that are numbered": "0,1,2,3\n1,2,3,4\n5,6,7,8\n",
}


@pytest.mark.parametrize("case", ROWS)
def test_columns_are_found(tmp_path, case):
    path = table(tmp_path, ROWS[case])
    names = None if case.startswith(("no names", "columns that")) else NAMES
    explainer = onnxplain.Explainer(linear(names), "deeplift", baseline=0.0)
    for number, row in ((1, [1, 2, 3, 4]), (2, [5, 6, 7, 8])):
        e = explainer.explain(f"{path}#{number}", 1)
        np.testing.assert_allclose(e.attribution, [np.array(row) * W[:, 1]], rtol=1e-5)


WRONG = {
    "empty": ("", "got nothing"),
    "a header alone": (",".join(NAMES), "a header alone"),
    "no header": ("1.5,2,3,4\n5,6,7,8", "names of columns in the first line"),
    "a missing column": ("age,mass,hight,size\n1,2,3,4", "missing: 'height': did you mean 'hight'"),
    "a word": ("age,mass,height,size\n1,two,3,4", "line 2, column 'mass': expected a number"),
    "a gap": ("age,mass,height,size\n\n1,,3,4", "line 3, column 'mass'"),
    "nan": ("age,mass,height,size\n1,nan,3,4", "expected a number, got 'nan'"),
    "infinite": ("age,mass,height,size\n1,1e999,3,4", "expected a number"),
    "a short row": ("age,mass,height,size\n1,2,3", "line 2: expected 4 cells"),
    "two of one name": ("age,mass,height,size,age\n1,2,3,4,5", "two columns are called 'age'"),
    "other bytes": (b"\xff\xfe\x00", "expected UTF-8"),
    "an open quote": ('age,mass,height,size\n1,"2,3,4', "line 2"),
    "a huge cell": ("age,mass,height,size\n1,2,3," + "4" * 200_000, "field larger"),
    "escapes": ("age,mass,height,size\n1,\x1b[31m,3,4", "\\x1b[31m"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("row", ["", "#1", "#2"])
def test_what_is_wrong_is_one_line(tmp_path, case, row):
    text, expected = WRONG[case]
    path = table(tmp_path, text)
    explainer = onnxplain.Explainer(linear(), "saliency")
    with pytest.raises(InvalidInputError) as refused:
        explainer.explain(f"{path}{row}")
    said = str(refused.value)
    assert "t.csv" in said and "\n" not in said and "\x1b" not in said and len(said) < 400
    if row != "#2":
        assert expected in said


def test_which_row_is_meant(tmp_path):
    path = table(tmp_path, ROWS["quoted"])
    explainer = onnxplain.Explainer(linear(), "saliency")
    for text, expected in (("", "t.csv#1 names the first"), ("#0", "2 rows"), ("#3", "2 rows")):
        with pytest.raises(InvalidInputError, match=expected):
            explainer.explain(f"{path}{text}")
    found = list(explainer.images([tmp_path], 0))
    assert [e.image for e in found] == [f"{path}#1", f"{path}#2"]


def test_a_file_that_is_called_so_is_that_file(tmp_path):
    table(tmp_path, ROWS["quoted"])
    odd = table(tmp_path, "age,mass,height,size\n9,9,9,9", "t.csv#2")
    into = onnxplain.Explainer(linear(), "saliency").into
    with pytest.raises(InvalidInputError):
        read_input(str(odd), into)


def test_other_numbers_of_columns(tmp_path):
    path = table(tmp_path, "a,b,c\n1,2,3")
    with pytest.raises(InvalidInputError, match=r"expected 4 columns.*got 3: 'a', 'b', 'c'"):
        onnxplain.Explainer(linear(None), "saliency").explain(path)
    with pytest.raises(InvalidInputError, match=r"feature_names: expected 4 names.*got 3"):
        onnxplain.Explainer(linear(["a", "b", "c"]), "saliency").explain(path)


def test_integers_are_whole(tmp_path):
    explainer = onnxplain.Explainer(linear(kind=INT64), "deeplift", baseline=0.0)
    e = explainer.explain(table(tmp_path, "age,mass,height,size\n1,2,3,4"), 0)
    np.testing.assert_allclose(e.attribution, [np.arange(1, 5) * W[:, 0]], rtol=1e-5)
    with pytest.raises(InvalidInputError, match="column 'mass': expected whole numbers"):
        explainer.explain(table(tmp_path, "age,mass,height,size\n1,2.5,3,4"))


def test_a_model_of_pictures_takes_none(tmp_path):
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    model = small(nodes, [value("x", ["N", 3, 4, 4])], [value("y", ["N", 3])])
    with pytest.raises(InvalidInputError, match=r"a table needs a model that takes \[N, features"):
        onnxplain.Explainer(model, "saliency").explain(table(tmp_path, "a,b\n1,2"))


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"kind": "table", "feature_names": "age"}, "a list of texts"),
        ({"kind": "table", "features": ["age"]}, "did you mean 'feature_names'"),
    ],
)
def test_wrong_cards(card, expected):
    with pytest.raises(InvalidInputError, match=expected):
        onnxplain.Explainer(linear(None), "saliency", card=card)


def test_the_command_line_explains_every_row(tmp_path, command):
    """One record a row, named after it; a row alone; a bad one stops no other."""
    onnx.save(linear(), tmp_path / "m.onnx")
    path = table(tmp_path, "age,mass,height,size\n1,2,3,4\n1,x,3,4\n5,6,7,8")
    out = tmp_path / "out"
    asked = "-m", "deeplift", "-t", "1", "-o", out
    status, _, err = command("explain", tmp_path / "m.onnx", path, *asked, "--report")
    assert status == 1 and "line 3, column 'mass'" in err and "Traceback" not in err
    records = json.loads((out / "results.json").read_text())
    done = {r["image"]: r for r in records if "error" not in r}
    assert set(done) == {f"{path}#1", f"{path}#3"}
    assert "t-3.deeplift.1.png" in done[f"{path}#3"]["files"]
    with np.load(out / "t-3.deeplift.1.npz") as arrays:
        np.testing.assert_allclose(arrays["attribution"], [[5, 6, 7, 8] * W[:, 1]], rtol=1e-5)
    status, _, err = command("explain", tmp_path / "m.onnx", f"{path}#1", *asked, "--resume")
    assert status == 0 and len(json.loads((out / "results.json").read_text())) == 3


def test_a_batch_has_a_row_a_row(tmp_path, command):
    onnx.save(linear(), tmp_path / "m.onnx")
    folder = tmp_path / "in"
    folder.mkdir()
    table(folder, ROWS["quoted"], "a.csv")
    table(folder, ROWS["exponents"], "b.csv")
    asked = "-m", "deeplift", "-t", "1"
    out = tmp_path / "out"
    status, _, err = command("batch", tmp_path / "m.onnx", folder, "-o", out, *asked)
    assert status == 0, err
    rows = parquet.read_table(out).to_pylist()
    found = [row["image"].split("/")[-1] for row in rows]
    assert found == ["a.csv#1", "a.csv#2", "b.csv#1", "b.csv#2"]
    for row, x in zip(rows, [[1, 2, 3, 4], [5, 6, 7, 8]] * 2, strict=True):
        np.testing.assert_allclose(row["attribution"], np.array(x) * W[:, 1], rtol=1e-5)


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_many_features_are_shown_by_their_strength(tmp_path, form):
    """What is drawn is the map's order: moved to the front, the strongest is drawn alike."""
    count = 60
    names = [f"f{k}" for k in range(count)]
    w = np.full((count, 3), 0.01, np.float32)
    pictures = []
    for place in (50, 2):
        own = w.copy()
        own[place] = 5
        explainer = onnxplain.Explainer(linear(names, count, own), "deeplift", baseline=0.0)
        x = np.ones((1, count), np.float32)
        path = tmp_path / f"t.{form}"
        if form == "csv":
            table(tmp_path, ",".join(names) + "\n" + ",".join(["1"] * count))
        else:
            np.save(path, x)
        e = explainer.explain(path, 0)
        heatmap = e.origin.kind.draw(e.attribution[0], explainer.into, "deeplift")
        assert heatmap.values.shape[::-1] == e.origin.view.size
        assert "the strongest 20 of 60" in heatmap.drawing
        assert heatmap.placed is not None
        pictures.append(np.asarray(heatmap.placed(e.origin.view)[0]))
        assert (np.asarray(e.origin.view) != pictures[-1]).any()
        # All evidence is in the bars: the last one is that of all others.
        rows = heatmap.values[16 + 27 :: 54][:21]
        assert np.sign(rows.sum(axis=1)).tolist() == [1.0] * 21
    assert (pictures[0] != pictures[1]).any()
