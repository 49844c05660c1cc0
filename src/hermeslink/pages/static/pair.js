// The page /pair. What it shows comes from the API and is written as text, never as HTML; what the URL holds is a
// connect token in the fragment at most, which goes into a header and is taken off the address bar at once.
"use strict";

const API = "/api/v1";
const KEPT = "hermeslink.session"; // what this browser keeps when it is paired
const INSTANCE = "hermeslink.instance"; // its own name for itself, so that pairing again is the same device
const LOOK_MS = 2000;
const SECTIONS = ["asking", "open", "claimed", "expired", "paired", "elsewhere", "failed", "offline"];

const at = (id) => document.getElementById(id);
let code = null; // {token, session_id, until}: `until` in milliseconds of performance.now()
let timer = null;
let asking = 0; // the newest question counts; an older one's answer comes too late

function show(name) {
  for (const each of SECTIONS) at(each).hidden = each !== name;
}

async function call(method, path, { token, body } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(API + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    referrerPolicy: "no-referrer",
  });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return { ...told, at: Date.parse(answer.headers.get("Date")) };
  const error = new Error(told.error ? told.error.message : `HTTP ${answer.status}`);
  error.status = answer.status;
  throw error;
}

function fail(error, token) {
  stopLooking();
  if (error.status === undefined) {
    show("offline");
    timer = setTimeout(() => ask(token), LOOK_MS);
  } else {
    at("why").textContent = error.message;
    show("failed");
  }
}

// --- a code, and what becomes of it ---

async function ask(token) {
  const asked = ++asking;
  stopLooking();
  show("asking");
  try {
    const told = await call(token ? "GET" : "POST", "/pairing/session", { token, body: token ? undefined : {} });
    if (asked === asking) open(told, token);
  } catch (error) {
    if (asked !== asking) return;
    if (!token && (error.status === 401 || error.status === 403)) show("elsewhere");
    else fail(error, token);
  }
}

function open(told, token) {
  const session = told.session;
  if (session.claimed) return show("claimed");
  const now = told.at || (token ? Date.now() : Date.parse(session.created_at)); // by the clock of the service
  code = {
    token: token || told.connect_token,
    session_id: session.session_id,
    until: performance.now() + Date.parse(session.expires_at) - now,
  };
  at("where").textContent = session.display_name;
  at("where").hidden = false;
  at("qr").src = told.qr.image;
  at("addresses").replaceChildren(
    ...session.preferred_urls.map((url) => {
      const line = document.createElement("li");
      line.textContent = url;
      return line;
    }),
  );
  show("open");
  look(0);
}

function look(beats) {
  const left = Math.max(0, Math.ceil((code.until - performance.now()) / 1000));
  at("left").textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  if (left === 0) return show("expired");
  timer = setTimeout(() => look(beats + 1), 500);
  if (beats % (LOOK_MS / 500) === 0) lookAtSession();
}

async function lookAtSession() {
  const looked = code;
  try {
    const told = await call("GET", `/pairing/session?session_id=${encodeURIComponent(looked.session_id)}`);
    if (looked !== code) return;
    if (told.session.claimed) ended("claimed");
    else if (!at("offline").hidden) show("open");
  } catch (error) {
    if (looked !== code) return;
    if (error.status === undefined) show("offline"); // the clock goes on, and so does asking
    else if (error.status === 404) ended("expired");
  }
}

function ended(section) {
  stopLooking();
  code = null;
  show(section);
}

function stopLooking() {
  clearTimeout(timer);
  timer = null;
}

// --- this browser as a device ---

async function pairHere(token) {
  stopLooking();
  at("here").disabled = true;
  try {
    const told = await call("POST", "/auth/device-session", {
      token,
      body: { device_label: label(), device_platform: "web", app_instance_id: instance() },
    });
    code = null;
    localStorage.setItem(
      KEPT,
      JSON.stringify({ link: told.link, device: told.device, access: told.access_token, refresh: told.refresh_token }),
    );
    showTokens();
  } catch (error) {
    fail(error, token);
  } finally {
    at("here").disabled = false;
  }
}

function kept() {
  return JSON.parse(localStorage.getItem(KEPT));
}

function showTokens() {
  for (const name of ["access", "refresh"]) at(name).textContent = masked(kept()[name].token);
  show("paired");
}

const masked = (token) => `${token.slice(0, 5)}${"•".repeat(12)}${token.slice(-4)}`;

function instance() {
  let own = localStorage.getItem(INSTANCE);
  if (!own) {
    own = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem(INSTANCE, own);
  }
  return own;
}

function label() {
  const agent = navigator.userAgent;
  const browser = [["Edg/", "Edge"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Mac OS", "Mac"], ["Windows", "Windows"], ["Linux", "Linux"]];
  const first = (pairs, otherwise) => (pairs.find(([sign]) => agent.includes(sign)) || ["", otherwise])[1];
  return `${first(browser, "Browser")} · ${first(system, "web")}`;
}

async function copy(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // plain HTTP on a LAN has no clipboard of the better kind
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

// --- what the buttons do ---

for (const id of ["renew", "another", "again", "retry"]) at(id).addEventListener("click", () => ask(null));
at("here").addEventListener("click", () => pairHere(code.token));
at("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  pairHere(at("token").value.trim());
});
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    await copy(kept()[button.dataset.token].token);
    at("copied").hidden = false;
  });
}

function fragmentToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(null, "", location.pathname);
  const token = given.get("code") || given.get("token");
  return token && /^[A-Za-z0-9_-]{20,128}$/.test(token) ? token : null;
}

ask(fragmentToken());
