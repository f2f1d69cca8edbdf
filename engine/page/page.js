const find = (id) => document.getElementById(id);
const SHOWN_CLASSES = 5;
const state = { facts: null, name: "", target: -1, method: null, classes: 0, last: null };
let worker = null, busy = false, waiting = null;

function say(text) { find("status").textContent = text; }
function complain(text) { find("error").textContent = text; }

function labelOf(index) { return state.facts.labels?.[index] ?? `class ${index}`; }

// As the command line says it: "96 %", "0.4 %", "99.97 %", "< 0.1 %".
function percent(probability) {
  const value = 100 * probability;
  if (value < 0.1) return "< 0.1 %";
  if (value >= 99.5 && value < 100) return value < 99.995 ? `${value.toFixed(2)} %` : "> 99.99 %";
  return value < 1 ? `${value.toFixed(1)} %` : `${value.toFixed(0)} %`;
}

// A part as the picture's line says it: "0.9 %", "< 0.01 %".
function smallPart(part) {
  return part < state.facts.exact ? "< 0.01 %" : `${twoDigits(100 * part)} %`;
}

function twoDigits(number) {
  return String(Number(number.toPrecision(2)));
}

// How exactly the map sums, and how good it is: "complete to 0.9 %, map good to 8 %".
function exactness({ delta, gap, mapError }, { owes }) {
  if (delta === null) return "none";
  const good = mapError === null || Number.isNaN(mapError) ? "" : `, map good to ${twoDigits(100 * mapError)} %`;
  const part = delta === 0 ? 0 : Math.abs(delta / gap), said = smallPart(part);
  if (!owes) return `no exact sum is promised (${said} off)${good}`;
  if (part > state.facts.doubtful) return `${inShort(delta)} (${said}), much is missing${good}`;
  return `complete ${part < state.facts.exact ? `(${said})` : `to ${said}`}${good}`;
}

function inShort(number) {
  return Math.abs(number) < 1e-3 && number !== 0 ? number.toExponential(1) : number.toPrecision(3);
}

// The file's own probabilities, or what is made of its scores; null: nobody knows what is meant.
function probabilities(scores) {
  const { activation, probability, raw } = state.facts;
  const sum = scores.reduce((a, b) => a + b, 0);
  const sumToOne = scores.length > 1 && scores.every((one) => one >= 0) && Math.abs(sum - 1) <= 1e-3;
  if (activation === "LogSoftmax") return scores.map(Math.exp);
  if (activation || sumToOne) return scores.every((one) => one >= 0 && one <= 1.001) ? scores : null;
  const how = probability ?? (raw && scores.length > 1 ? "softmax" : null);
  if (how === "sigmoid") return scores.map((one) => 1 / (1 + Math.exp(-one)));
  if (how !== "softmax") return null;
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const parts = scores.map((one) => Math.exp(one - most));
  const whole = parts.reduce((a, b) => a + b, 0);
  return parts.map((one) => one / whole);
}

function choice(group, value, text, checked) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name: group, value, checked });
  const words = Object.assign(document.createElement("span"), { textContent: text });
  label.append(input, words);
  return label;
}

function answerRow(index, chances, scores) {
  const row = choice("target", index, labelOf(index), index === state.target);
  const chance = chances?.[index];
  const text = chance === undefined ? scores[index].toFixed(3) : percent(chance);
  row.append(Object.assign(document.createElement("b"), { textContent: text }));
  if (chance !== undefined) {
    const bar = document.createElement("i");
    bar.style.width = `${100 * chance}%`;
    row.append(bar);
  }
  return row;
}

// Rows of the best classes; one more where another class was asked for.
function showAnswer({ scores }) {
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  const chances = probabilities(scores);
  state.classes = scores.length;
  if (state.target < 0) state.target = order[0];
  const best = order.slice(0, SHOWN_CLASSES);
  if (!best.includes(state.target)) best.push(state.target);
  const focused = document.activeElement?.name === "target";
  const rows = best.map((index) => answerRow(index, chances, scores));
  find("answer").replaceChildren(find("answer").querySelector("legend"), ...rows);
  if (focused) find("answer").querySelector(":checked").focus();
  return chances;
}

function draw(canvas, { rgba, height, width }) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
}

function show(found, method) {
  const chances = showAnswer(found);
  const label = labelOf(state.target);
  draw(find("view"), found.view);
  draw(find("picture"), found.picture);
  find("stack").setAttribute("aria-label", `${state.name} with the ${method.title} map of ${label} over it`);
  find("reading").textContent = method.reading;
  find("score").textContent = found.score === null ? "not known" : found.score.toFixed(3);
  find("delta").textContent = exactness(found, method);
  find("time").textContent = `${found.took.toFixed(0)} ms`;
  find("shown").hidden = false;
  const chance = chances ? `, ${percent(chances[state.target])}` : "";
  say(`${method.title} of ${label}${chance}: done in ${found.took.toFixed(0)} ms.`);
}

// One run at a time; of those that were asked for meanwhile only the last is of use.
function explain() {
  if (!state.name) return;
  const { input, output } = state.facts, method = state.method;
  const { file, score, delta, mapError, title } = method;
  waiting = { file, score, delta, mapError, input, output, target: state.target, method };
  complain("");
  say(`${title} is computed …`);
  document.body.classList.add("busy");
  if (!busy) next();
}

function next() {
  const { method, ...asked } = waiting;
  state.last = method;
  waiting = null;
  busy = true;
  worker.postMessage(asked);
}

function answered({ data }) {
  busy = false;
  if (waiting) {
    next();
    return;
  }
  document.body.classList.remove("busy");
  if (data.error) {
    say("");
    complain(`${state.last.title} failed: ${data.error}`);
  } else {
    show(data.found, state.last);
  }
}

// The photo as the command line reads it: upright, on white, its colours as they are stored.
async function decoded(blob) {
  const how = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(blob, how);
  const { width, height } = bitmap;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return { rgb, height, width };
}

async function take(blob, name) {
  let photo;
  try {
    photo = await decoded(blob);
  } catch {
    complain(`${name} is no photo that this browser can read; expected JPEG, PNG, WebP or the like.`);
    return;
  }
  worker.postMessage({ photo }, [photo.rgb.buffer]);
  Object.assign(state, { name, target: -1 });
  find("class").value = "";
  explain();
}

async function takeSample(file) {
  const answer = await fetch(file);
  await take(await answer.blob(), file.split("/").pop());
}

// "tabby", "281", or "crane (134)" where two classes have one name.
function classOf(text) {
  const labels = state.facts.labels ?? [];
  const asked = text.trim().toLowerCase();
  const number = /^(?:.*\()?(\d+)\)?$/.exec(asked);
  const named = labels.findIndex((label) => label.toLowerCase() === asked);
  const index = named >= 0 ? named : number ? Number(number[1]) : -1;
  return index >= 0 && index < state.classes ? index : null;
}

function chooseClass() {
  const text = find("class").value;
  if (!text.trim()) return;
  const index = classOf(text);
  if (index === null) {
    complain(`No class “${text}”: expected a name of the list, or a number from 0 to ${state.classes - 1}.`);
    return;
  }
  state.target = index;
  explain();
}

function chosen({ target }) {
  if (target.name === "target") state.target = Number(target.value);
  else if (target.name === "method") state.method = state.facts.methods.find(({ name }) => name === target.value);
  else if (target.id === "class") return chooseClass();
  else return;
  if (target.name === "target") find("class").value = "";
  explain();
}

function fade() {
  const { value } = find("opacity");
  find("picture").style.opacity = String(value / 100);
  find("opacity-said").textContent = `${value} %`;
}

function listenForFiles() {
  find("photo").addEventListener("change", ({ target }) => {
    if (target.files[0]) take(target.files[0], target.files[0].name);
    target.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  }
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
    else complain("That is no file; expected a photo: JPEG, PNG, WebP or the like.");
  });
}

function showFacts(facts) {
  state.facts = facts;
  state.method = facts.methods[0];
  find("model").textContent = facts.model;
  find("runtime").textContent = facts.runtime;
  document.title = `What ${facts.model} looks at`;
  const methods = facts.methods.map(({ name, title }) => choice("method", name, title, name === state.method.name));
  find("methods").append(...methods);
  const seen = new Map();
  for (const label of facts.labels ?? []) seen.set(label, (seen.get(label) ?? 0) + 1);
  find("classes").append(...(facts.labels ?? []).map((label, index) =>
    Object.assign(document.createElement("option"), { value: seen.get(label) > 1 ? `${label} (${index})` : label })));
  for (const file of facts.samples) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const name = file.split("/").pop().replace(/\.\w+$/, "");
    button.append(Object.assign(document.createElement("img"), { src: file, alt: `Sample: ${name}` }));
    button.addEventListener("click", () => takeSample(file));
    find("samples").append(button);
  }
}

async function start() {
  say("Loading …");
  const answer = await fetch("page.json");
  if (!answer.ok) throw new Error(`cannot load page.json: ${answer.status}`);
  showFacts(await answer.json());
  worker = new Worker("worker.js", { type: "module" });
  worker.addEventListener("message", answered);
  worker.addEventListener("error", (event) => complain(`The page cannot run: ${event.message ?? "its worker did not load"}.`));
  find("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    chooseClass();
  });
  find("controls").addEventListener("change", chosen);
  find("opacity").addEventListener("input", fade);
  listenForFiles();
  say("Ready.");
}

start().catch((error) => complain(`The page cannot start: ${error.message}.`));
