(() => {
  "use strict";
  const find = (id) => document.getElementById(id);
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const controls = find("controls");
  if (!controls) return;
  const images = all(".image");
  const image = find("choose-image"), view = find("choose-view"), method = find("choose-method");
  const opacity = find("opacity");
  const root = document.documentElement;

  const shownImages = () =>
    !image || image.value === "all" ? images : images.filter((one) => one.id === image.value);
  const chosenMethod = () => (method ? method.querySelector(":checked").value : "all");

  // The classes of one image have names; those of several have places only.
  function nameViews() {
    if (!view) return;
    const own = shownImages();
    const names = own.length === 1 ? all(".view", own[0]).map((one) => one.dataset.name) : null;
    [...view.options].slice(1).forEach((option, place) => {
      option.dataset.place ??= option.textContent;
      option.textContent = names ? (names[place] ?? "") : option.dataset.place;
      option.hidden = option.disabled = Boolean(names && place >= names.length);
    });
    if (view.selectedOptions[0]?.disabled) view.value = "all";
  }

  function show() {
    nameViews();
    const own = new Set(shownImages()), which = chosenMethod(), place = view ? view.value : "all";
    for (const one of images) one.classList.toggle("off", !own.has(one));
    for (const one of all(".view")) one.classList.toggle("off", place !== "all" && one.dataset.view !== place);
    for (const one of all(".map")) one.classList.toggle("off", which !== "all" && one.dataset.method !== which);
    for (const one of all(".maps")) one.classList.toggle("one", which !== "all");
    if (image) {
      const at = image.selectedIndex;
      find("previous").disabled = at <= 1;
      find("next").disabled = at >= image.options.length - 1;
    }
    const words = [image, view].filter(Boolean).map((one) => one.selectedOptions[0].textContent);
    if (method) words.push(method.querySelector(":checked").parentElement.textContent.trim());
    find("said").textContent = `Shown: ${words.join(", ")}`;
  }

  function fade() {
    root.style.setProperty("--over", String(opacity.value / 100));
    find("opacity-said").textContent = `${opacity.value} %`;
  }

  function step(by) {
    const at = Math.min(Math.max(image.selectedIndex + by, 1), image.options.length - 1);
    image.selectedIndex = at;
    show();
  }

  function follow() {
    const asked = images.find((one) => `#${one.id}` === location.hash);
    if (!asked || !image) return;
    image.value = asked.id;
    show();
    asked.scrollIntoView();
  }

  root.classList.add("js");
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", show);
  opacity.addEventListener("input", fade);
  if (image) {
    find("previous").addEventListener("click", () => step(-1));
    find("next").addEventListener("click", () => step(1));
    window.addEventListener("hashchange", follow);
    image.value = images[0].id;
  }
  fade();
  show();
  follow();
})();
