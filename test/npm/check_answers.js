// Checks answers against an OpenAPI document.
//
//   node check_answers.js OPENAPI.json < ANSWERS
//
// A line of ANSWERS is {"method", "path", "status", "type", "body"}, path as the
// document has it. Prints what does not fit, one line each, and at the end which
// status codes with JSON bodies nothing was seen of, as "unseen METHOD PATH STATUS".
"use strict";

const fs = require("fs");
const Ajv = require("ajv/dist/2020");
const addFormats = require("ajv-formats");

const document = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const ajv = new Ajv({ strict: true, allErrors: true, allowUnionTypes: true });
addFormats(ajv);
ajv.addVocabulary(["openapi", "info", "paths", "components", "security", "servers", "tags"]);
ajv.addSchema(document, "doc");

const pointer = (...parts) => "doc#/" + parts.map((p) => encodeURIComponent(p.replace(/~/g, "~0").replace(/\//g, "~1"))).join("/");

function responseOf(method, path, status) {
  const operation = (document.paths[path] || {})[method];
  if (!operation) return null;
  const response = operation.responses[status];
  if (!response) return null;
  if (response.$ref) return { response: document.components.responses[response.$ref.split("/").pop()],
    at: ["components", "responses", response.$ref.split("/").pop()] };
  return { response, at: ["paths", path, method, "responses", status] };
}

const seen = new Set();
for (const line of fs.readFileSync(0, "utf8").split("\n")) {
  if (!line) continue;
  const answer = JSON.parse(line);
  const what = `${answer.method} ${answer.path} ${answer.status}`;
  const method = answer.method.toLowerCase();
  const found = responseOf(method, answer.path, String(answer.status));
  if (!found) { console.log(`${what}: not documented`); continue; }
  seen.add(what);
  const type = (answer.type || "").split(";")[0];
  const content = found.response.content;
  if (!content) { if (answer.body !== "") console.log(`${what}: has a body`); continue; }
  if (!content[type]) { console.log(`${what}: type ${type} is not documented`); continue; }
  if (type !== "application/json") continue;
  const validate = ajv.compile({ $ref: pointer(...found.at, "content", type, "schema") });
  if (!validate(JSON.parse(answer.body)))
    for (const e of validate.errors.slice(0, 5)) console.log(`${what}: ${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}
for (const [path, operations] of Object.entries(document.paths))
  for (const [method, operation] of Object.entries(operations))
    for (const status of Object.keys(operation.responses))
      if (!seen.has(`${method.toUpperCase()} ${path} ${status}`)) console.log(`unseen ${method.toUpperCase()} ${path} ${status}`);
