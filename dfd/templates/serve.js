"use strict";
const AT_ONCE = 2, TRIES = 6;
// tools that are shown whatever they say: what a file itself claims, and what only time shows of a video
const FIRST_HAND = /^(metadata|provenance|clip_.*)$/;
const { maxBytes, suffixes, detector, maps } = document.body.dataset;
const byId = id => document.getElementById(id);
const visit = []; // what was judged: { name, answer } or { name, problem }, and its article
const waiting = [];
let running = 0, left = 0;

const make = (tag, text = "", kind = "") => {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const megabytes = bytes => (bytes / 1e6).toFixed(1) + " MB";
const options = more => {
  const query = new URLSearchParams(more);
  if (byId("whole").checked) query.set("whole", "true");
  return "?" + query;
};

// a file, or none, to an address of the service; resolves to { status, body, wait }, whatever becomes of it
const send = (address, file = null, name = "", sent = () => {}) => new Promise(resolve => {
  const request = new XMLHttpRequest();
  const unreachable = () => resolve({ status: 0, wait: 0, body: {
    message: "The service cannot be reached, or ended the request. Look whether it still runs, and try again.",
  } });
  request.open(file ? "POST" : "GET", address);
  if (byId("token")?.value.trim()) request.setRequestHeader("Authorization", "Bearer " + byId("token").value.trim());
  request.upload.addEventListener("progress", event => sent(event.loaded / event.total));
  request.addEventListener("error", unreachable);
  request.addEventListener("load", () => {
    let body;
    try { body = JSON.parse(request.responseText); } catch { return unreachable(); }
    // its words are for programs
    if (body.code === "no_token") body.message = "This service needs a token: write yours above, or ask whoever runs it for one.";
    resolve({ status: request.status, wait: Number(request.getResponseHeader("Retry-After")), body });
  });
  if (!file) return request.send();
  const form = new FormData();
  form.append("file", file, name);
  request.send(form);
});

const trouble = lines => byId("trouble").replaceChildren(...lines.map(line => make("p", line)));

const add = (chosen, others = 0) => {
  const said = [];
  if (others) said.push(`${others} other ${others === 1 ? "file" : "files"} of the folder not tried: no picture's name.`);
  if (!chosen.length && !others) said.push("There was no file in it. Drop pictures or a folder, or choose them.");
  trouble(said);
  for (const { file, name } of chosen) {
    const article = byId("result").content.firstElementChild.cloneNode(true);
    const entry = { file, name, article, link: make("a", name) };
    article.id = "picture-" + (visit.push(entry));
    article.querySelector("h3").textContent = name;
    article.setAttribute("aria-label", name);
    entry.link.href = "#" + article.id;
    const line = make("li");
    line.append(entry.link);
    byId("history").prepend(line);
    byId("results").prepend(article);
    article.querySelector(".again").addEventListener("click", () => queue(entry));
    article.querySelector(".evidence").addEventListener("click", event => evidence(entry, event.target));
    queue(entry);
  }
};

const queue = entry => {
  delete entry.problem;
  delete entry.answer;
  entry.article.querySelector(".again").hidden = true;
  entry.article.querySelector(".state").hidden = false;
  entry.article.querySelector(".word").textContent = "Waiting.";
  entry.article.querySelector("progress").hidden = false;
  waiting.push(entry);
  left += 1;
  summary();
  next();
};

const next = () => {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    judge(waiting.shift()).finally(() => { running -= 1; left -= 1; summary(); next(); });
  }
};

const judge = async entry => {
  const word = entry.article.querySelector(".word"), bar = entry.article.querySelector("progress");
  if (entry.file.size > maxBytes) {
    return refused(entry, `It has ${megabytes(entry.file.size)}, and up to ${megabytes(maxBytes)} are read. Send a smaller copy.`, false);
  }
  if (!entry.file.size) return refused(entry, "The file is empty. Get it again from where it came.", false);
  for (let attempt = 1; ; attempt += 1) {
    word.textContent = "Sending.";
    const { status, body, wait } = await send("v1/score" + options({ picture: true }), entry.file, entry.name, share => {
      bar.value = share;
      if (share === 1) { word.textContent = "Judging."; bar.removeAttribute("value"); }
    });
    if (status === 200) return judged(entry, body.files[0]);
    if (status !== 429 || attempt === TRIES) return refused(entry, body.message);
    word.textContent = `The service is busy: again in ${wait} s.`;
    await new Promise(resolve => setTimeout(resolve, 1000 * wait));
  }
};

const refused = (entry, message, mayWork = true) => {
  entry.problem = message;
  entry.article.querySelector("progress").hidden = true;
  entry.article.querySelector(".again").hidden = !mayWork;
  entry.article.querySelector(".word").textContent = "No answer: " + message;
  entry.link.textContent = `${entry.name}: no answer`;
};

const judged = (entry, answer) => {
  const { article } = entry;
  entry.answer = answer;
  article.querySelector(".state").hidden = true;
  // a crop of one face may be judged after all
  article.querySelector(".again").hidden = !["no_face", "no_detector"].includes(answer.scores[0].status);
  article.querySelector(".evidence").hidden = false;
  if (answer.picture) article.querySelector(".shown").replaceChildren(boxed(answer, entry.name));
  if (answer.clip) article.querySelector(".shown").replaceChildren(...overTime(answer.clip, entry.name));
  article.querySelector(".faces").replaceChildren(...answer.scores.map(score => face(entry, score)));
  entry.link.textContent = `${entry.name}: ${answer.scores.map(said).join(", ")}`;
};

const said = score => score.verdict ? score.word : score.status.replaceAll("_", " ");

const face = (entry, score) => {
  const part = make("div", "", "face"), title = make("p");
  title.append(make("span", said(score), "badge " + (score.verdict ?? "")));
  if (score.faces > 1) title.append(` face ${score.face} of ${score.faces}`);
  part.append(title, ...score.sentences.map(sentence => make("p", sentence)));
  if (maps && score.status === "ok" && !("moments" in score)) {
    const what = ["fake", "no_trace"].includes(score.verdict) ? "verdict" : "detector";
    const button = make("button", `Show what moved the ${what}${score.faces > 1 ? ` on face ${score.face}` : ""}`);
    button.type = "button";
    button.addEventListener("click", () => explain(entry, Math.max(score.face, 1), button, part));
    const line = make("p", "", "actions");
    line.append(button);
    part.append(line);
  }
  return part;
};

const drawing = (tag, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
};

const picture = (address, text) => {
  const image = make("img");
  image.src = address;
  image.alt = text;
  return image;
};

// the picture with a numbered box around each face
const boxed = ({ picture: { width, height, address }, scores }, name) => {
  const figure = make("figure"), stack = make("div", "", "stack");
  const boxes = scores.filter(score => score.box);
  const count = boxes.length === 1 ? "one face, in a box" : boxes.length ? `${boxes.length} faces, in numbered boxes` : "no face in a box";
  const over = drawing("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const { box: [x, y, w, h], face } of boxes) {
    for (const kind of ["under", ""]) over.append(drawing("rect", { x, y, width: w, height: h, class: kind }));
    if (boxes.length > 1) over.append(drawing("text", { x: x + width / 100, y: y + width / 18, "font-size": width / 20, "stroke-width": width / 150 }, face));
  }
  stack.append(picture(address, `${name}: ${count}`), over);
  figure.append(stack);
  return figure;
};

// of a video the curves, and the moments that look most fake
const overTime = ({ curve, moments }, name) => {
  const found = [];
  if (curve) {
    const figure = make("figure");
    figure.append(picture(curve, `${name}: P(fake) of each face over time`), make("figcaption", "P(fake) of each face over time; grey: no verdict."));
    found.push(figure);
  }
  const list = make("ul", "", "moments");
  for (const { face, seconds, prob, address } of moments) {
    const line = make("li"), text = `face ${face} at ${seconds.toFixed(1)} s: ${prob === null ? "no P(fake)" : `P(fake) ${prob.toFixed(2)}`}`;
    line.append(picture(address, text), make("p", text, "quiet"));
    list.append(line);
  }
  return [...found, make("p", "The moments that look most fake:"), list];
};

// a button's work: it says that it works, and what went wrong
const working = async (button, words, place, work) => {
  const before = button.textContent;
  button.disabled = true;
  button.textContent = words;
  byId("summary").textContent = words;
  const { status, body } = await work();
  button.disabled = false;
  button.textContent = before;
  summary();
  place.querySelectorAll(".mind").forEach(each => each.remove());
  if (status === 200) return body;
  const line = make("p", body.message, "mind");
  line.setAttribute("role", "alert");
  place.append(line);
  return null;
};

const explain = async (entry, number, button, place) => {
  const found = await working(button, "Measuring; this may take a minute.", place, () =>
    send("v1/explain" + options({ face: number }), entry.file, entry.name));
  if (!found) return;
  const figure = make("figure"), stack = make("div", "", "stack"), caption = make("figcaption");
  const label = make("label", "How strongly the map covers the picture"), slider = make("input");
  const map = picture(found.map, "");
  slider.type = "range";
  slider.value = 75;
  const show = () => { map.style.opacity = slider.value / 100; };
  slider.addEventListener("input", show);
  show();
  label.append(slider);
  stack.append(picture(found.seen, `What was judged, under a map by ${found.title}`), map);
  caption.append(label, make("p", `${found.title}. ${found.meaning} Red speaks for fake${found.signed ? ", blue against it" : ""}.`), make("p", found.how_far));
  if (found.no_verdict) figure.append(make("p", found.no_verdict, "mind"));
  figure.append(stack, caption);
  button.parentElement.hidden = true;
  place.append(figure);
  entry.maps = { ...entry.maps, [number]: found };
  slider.focus();
};

const evidence = async (entry, button) => {
  const place = entry.article.querySelector(".found");
  const body = await working(button, "Examining the file.", place, () =>
    send("v1/inspect" + options({ page: true }), entry.file, entry.name));
  if (!body) return;
  const { evidence: found, inspection, page, summary: sentences } = body.files[0];
  const list = make("ul");
  for (const { status, word, title, sentence, figure } of found.filter(each => ["found", "failed"].includes(each.status) || FIRST_HAND.test(each.tool))) {
    const line = make("li"), first = make("p");
    first.append(make("span", word, "badge " + status), " ", make("b", title));
    line.append(first, make("p", sentence));
    if (figure) line.append(make("p", figure, "quiet"));
    list.append(line);
  }
  const heading = make("h4", "What the file says of itself");
  heading.tabIndex = -1;
  place.replaceChildren(heading, ...sentences.map(sentence => make("p", sentence)), list, make("p", "The full page has every tool, its map, and how often it errs.", "quiet"));
  entry.inspection = inspection;
  button.hidden = true;
  const full = entry.article.querySelector(".full");
  full.hidden = false;
  full.addEventListener("click", () => save(page, "text/html", entry.name.replace(/^.*\//, "") + ".inspected.html"));
  heading.focus();
};

const several = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const VERDICTS = ["fake", "no trace found", "inconclusive", "unfamiliar"];

// what was judged in all, as dfd score counts it: files as files, faces as faces
const counted = () => {
  if (!visit.length) return "No picture yet.";
  const counts = new Map(), scores = visit.flatMap(({ answer }) => answer?.scores ?? []);
  const problems = visit.filter(({ problem }) => problem).map(() => "no answer");
  for (const word of [...scores.map(said), ...problems]) counts.set(word, (counts.get(word) ?? 0) + 1);
  const listed = words => words.filter(word => counts.has(word)).map(word => `${counts.get(word)} ${word}`).join(", ");
  const others = listed([...counts.keys()].filter(word => !VERDICTS.includes(word)).sort());
  const faces = scores.filter(score => score.face > 0).length;
  const files = left ? `${visit.length - left} of ${several(visit.length, "file")} judged` : several(visit.length, "file");
  const parts = [listed(VERDICTS), others && `no verdict: ${others}`].filter(Boolean).join("; ");
  return `${files}${faces ? ` with ${several(faces, "face")}` : ""}${parts && ": " + parts}.`;
};

const summary = () => {
  byId("summary").textContent = counted();
  byId("saving").hidden = !visit.length;
  for (const button of byId("saving").querySelectorAll("button")) button.disabled = left > 0;
};

const save = (text, kind, name) => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind + ";charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};

byId("save-json").addEventListener("click", () => {
  const files = visit.map(({ name, answer, problem, inspection, maps }) => {
    const { picture, clip, ...facts } = answer ?? { name, problem };
    return { ...facts, ...(inspection && { inspection }), ...(maps && { maps }) };
  });
  save(JSON.stringify({ detector, saved_at: new Date().toISOString(), files }, null, 2), "application/json", "verdicts.json");
});

byId("save-page").addEventListener("click", async () => {
  const style = await (await fetch("serve.css")).text();
  const whole = make("main"), title = "Verdicts of " + detector;
  whole.append(make("h1", title), make("p", `${counted()} Saved ${new Date().toLocaleString()}.`));
  whole.append(...["closing", "history", "results"].map(id => byId(id).cloneNode(true)));
  whole.querySelectorAll("button, input, progress").forEach(each => each.remove());
  whole.querySelectorAll("details").forEach(each => { each.open = true; });
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">${make("title", title).outerHTML}<style>${style}</style>`;
  save(`<!doctype html>\n<html lang="en"><head>${head}</head><body>${whole.outerHTML}</body></html>`, "text/html", "verdicts.html");
});

byId("token")?.addEventListener("input", () => { byId("token-state").textContent = ""; });
byId("access")?.addEventListener("submit", async event => {
  event.preventDefault();
  const state = byId("token-state");
  state.textContent = "Asking.";
  const { status, body } = await send("v1/models");
  state.textContent = status === 200 ? "This service knows this token." : body.message;
});

byId("clear").addEventListener("click", () => {
  visit.length = 0;
  for (const id of ["history", "results", "trouble"]) byId(id).replaceChildren();
  summary();
  byId("files").focus();
});

const isPicture = name => suffixes.split(" ").some(suffix => name.toLowerCase().endsWith(suffix));
const named = file => ({ file, name: file.webkitRelativePath || file.name });
const ofFolder = files => {
  const pictures = files.filter(({ name }) => isPicture(name));
  add(pictures, files.length - pictures.length);
};

for (const id of ["files", "folder"]) {
  byId(id).addEventListener("change", event => {
    const files = [...event.target.files].map(named);
    event.target.value = "";
    if (files.length) (id === "folder" ? ofFolder : add)(files);
  });
}

// every file below a folder that was dropped
const walk = async entry => {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const each of some) found.push(...await walk(each));
  }
};

const drop = byId("drop");
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, event => { event.preventDefault(); drop.classList.add("over"); });
}
addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", async event => {
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) {
    const address = event.dataTransfer.getData("text/uri-list") || event.dataTransfer.getData("text/plain");
    if (!event.dataTransfer.files.length && address) {
      return trouble(["An address was dropped, and addresses are not opened: whoever runs that host would learn that you ask. Save the picture first, then drop its file."]);
    }
    return add([...event.dataTransfer.files].map(named));
  }
  const files = [];
  for (const entry of entries) files.push(...await walk(entry));
  (entries.some(entry => entry.isDirectory) ? ofFolder : add)(files);
});
