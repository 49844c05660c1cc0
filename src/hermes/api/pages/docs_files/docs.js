// The page at /docs: asks for the key, fetches the document with it, and shows it. The key is kept in memory only.
"use strict";

const form = document.getElementById("ask");
const field = document.getElementById("key");
const told = document.getElementById("told");
const base = location.pathname.replace(/\/docs$/, ""); // /p/NAME of a profile, else nothing

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = field.value.trim();
  told.textContent = "";
  try {
    show(await fetched(key), key);
  } catch (error) {
    told.textContent = error.message;
  }
});

async function fetched(key) {
  const answer = await fetch(`${base}/openapi.json`, {
    headers: { Authorization: `Bearer ${key}` },
    credentials: "omit",
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error.message);
  return body;
}

function show(spec, key) {
  field.value = "";
  form.remove();
  const ui = SwaggerUIBundle({
    spec: { ...spec, servers: [{ url: base || "/" }] },
    domNode: document.getElementById("routes"),
    deepLinking: false,
    docExpansion: "list",
    persistAuthorization: false,
    onComplete: () => ui.preauthorizeApiKey("bearer", key),
  });
}
