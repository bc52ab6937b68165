// Asking the gateway. The browser keeps answers and asks with their ETag, so
// that asking again costs neither of us anything while nothing has changed.

const TOKEN_KEY = "ccproxy_read_token";

export class ApiError extends Error {
  constructor(message, status, retryAfter, parameter) {
    super(message);
    this.status = status; // 0: the gateway was not reached
    this.retryAfter = retryAfter;
    this.parameter = parameter; // of a 400
  }

  get isSignIn() { return this.status === 401; }
  get isAway() { return this.status === 503 && this.message.startsWith("The database cannot be read"); }
  // more groups than an answer may have (read_max_rows)
  get isTooMany() { return this.status === 400 && this.parameter === "group_by"; }
}

// A token may come as #token=...; it is kept for this tab only. Usually there
// is none: the cookie of the sign-in goes along by itself.
export function takeToken() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return;
  sessionStorage.setItem(TOKEN_KEY, decodeURIComponent(match[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

export async function signOut() {
  sessionStorage.removeItem(TOKEN_KEY);
  await fetch("dashboard/logout", { method: "POST", credentials: "same-origin", redirect: "manual" });
}

async function ask(path, parameters, headers, signal) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const query = parameters ? String(parameters) : "";
  const url = "api/" + path + (query ? "?" + query : "");
  if (token) headers.Authorization = "Bearer " + token;
  let response;
  try {
    response = await fetch(url, { headers, signal, credentials: "same-origin" });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new ApiError("The gateway cannot be reached.", 0, 0);
  }
  if (!response.ok) {
    let body = {};
    try {
      body = await response.json();
    } catch (e) {
      if (e.name === "AbortError") throw e; // else the status has to do
    }
    throw new ApiError(body.error || "The gateway answered " + response.status + ".", response.status,
      Number(response.headers.get("Retry-After")) || 0, body.parameter);
  }
  return response;
}

export const get = async (path, parameters, signal) => (await ask(path, parameters, { Accept: "application/json" }, signal)).json();

export async function getCsv(path, parameters) {
  const query = new URLSearchParams(parameters);
  query.set("format", "csv");
  return (await ask(path, query, { Accept: "text/csv" }, undefined)).blob();
}
