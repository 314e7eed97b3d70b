"""JavaScript and TypeScript: kernels on Node.js and on Deno, through standard output.

All is in one function, so that no name is bound; globals are taken from ``globalThis``, which
``let`` and ``const`` of the user do not change.
"""

from collections.abc import Mapping

from jupyter_exec_ext.engine.languages.exchange import (
    MAX_DEPTH,
    MAX_ERROR_LENGTH,
    Language,
    Request,
    base64_json,
)

_CALL = """\
(function () {{
  const received = "{data}";
  const decoded = globalThis.Buffer
    ? globalThis.Buffer.from(received, "base64").toString("utf8")
    : new globalThis.TextDecoder().decode(
        globalThis.Uint8Array.from(globalThis.atob(received), (c) => c.charCodeAt(0)));
  const data = globalThis.JSON.parse(decoded);
  {source}
}})();"""

_ENVIRONMENT = """
  const kept = globalThis.Symbol.for("jupyter_exec_ext.environment");
  const deno = globalThis.Deno && globalThis.Deno.env;
  const values = globalThis.process && globalThis.process.env;
  function get(name) {
    const value = deno ? deno.get(name) : values[name];
    return value === undefined ? null : value;
  }
  function set(name, value) {
    if (value === null) {
      if (deno) { deno.delete(name); } else { delete values[name]; }
    } else {
      if (deno) { deno.set(name, value); } else { values[name] = value; }
    }
  }
"""

_SET = (
    _ENVIRONMENT
    + """
  if (!globalThis[kept]) {
    globalThis.Object.defineProperty(
      globalThis, kept, { value: new globalThis.Map(), configurable: true });
  }
  for (const [name] of data) {
    if (!globalThis[kept].has(name)) { globalThis[kept].set(name, get(name)); }
  }
  for (const [name, value] of data) { set(name, value); }
"""
)

_RESTORE = (
    _ENVIRONMENT
    + """
  const previous = globalThis[kept] || [];
  delete globalThis[kept];
  for (const [name, value] of previous) { set(name, value); }
"""
)

_READ = """
  const [names, limit, marker, maxDepth, maxErrorLength] = data;
  const JSON = globalThis.JSON, Object = globalThis.Object, String = globalThis.String;
  const notJson = {}, tooLarge = {};
  function size(text) {
    if (text.length * 3 <= limit) { return text.length; }
    return new globalThis.TextEncoder().encode(text).length;
  }
  function writer() {
    const parts = [];
    let left = limit;
    function add(text) {
      left -= text.length > left ? text.length : size(text);
      if (left < 0) { throw tooLarge; }
      parts.push(text);
    }
    function addAll(items, opening, closing, addItem) {
      add(opening);
      items.forEach((item, index) => {
        if (index) { add(","); }
        addItem(item);
      });
      add(closing);
    }
    function write(value, depth) {
      if (depth > maxDepth) { throw notJson; }
      if (value === null || value === true || value === false) {
        add(String(value));
      } else if (typeof value === "number") {
        if (!globalThis.Number.isFinite(value)) { throw notJson; }
        add(JSON.stringify(value));
      } else if (typeof value === "bigint") {
        add(value.toString());
      } else if (typeof value === "string") {
        if (value.length > left) { throw tooLarge; }
        // Half a surrogate pair is no text.
        if (/[\\ud800-\\udfff]/u.test(value)) { throw notJson; }
        add(JSON.stringify(value));
      } else if (globalThis.Array.isArray(value)) {
        if (value.length > left) { throw tooLarge; }
        addAll(globalThis.Array.from(value), "[", "]", (item) => write(item, depth + 1));
      } else if (isPlain(value)) {
        addAll(Object.keys(value), "{", "}", (key) => {
          write(key, depth);
          add(":");
          write(value[key], depth + 1);
        });
      } else {
        throw notJson;
      }
    }
    return { write, text: () => parts.join("") };
  }
  function isPlain(value) {
    if (typeof value !== "object" || Object.getOwnPropertySymbols(value).length) { return false; }
    const proto = Object.getPrototypeOf(value);
    return proto === null || Object.getPrototypeOf(proto) === null
      && Object.prototype.hasOwnProperty.call(proto, "hasOwnProperty");
  }
  function plainText(value) {
    if (globalThis.Deno && globalThis.Deno.inspect) { return globalThis.Deno.inspect(value); }
    const process = globalThis.process;
    const util = typeof globalThis.require === "function" ? globalThis.require("util")
      : process && process.getBuiltinModule ? process.getBuiltinModule("util") : null;
    return util ? util.inspect(value) : String(value);
  }
  function shown(value) {
    const bundle = {};
    if (value !== null && (typeof value === "object" || typeof value === "function")) {
      const display = value[globalThis.Symbol.for("Jupyter.display")];
      if (typeof display === "function") {
        const parts = display.call(value);
        if (parts && typeof parts.then !== "function") { return parts; }
      }
      if (typeof value._toMime === "function") { return value._toMime(); }
      for (const [method, mime] of [["_toHtml", "text/html"], ["_toSvg", "image/svg+xml"],
          ["_toPng", "image/png"], ["_toJpeg", "image/jpeg"]]) {
        if (typeof value[method] === "function") { bundle[mime] = value[method](); }
      }
    }
    bundle["text/plain"] = plainText(value);
    return bundle;
  }
  function describeShown(entry, value) {
    entry.data = {};
    entry.json_data = {};
    for (const [mime, part] of Object.entries(shown(value))) {
      const isText = typeof part === "string";
      const text = isText ? part : JSON.stringify(part);
      if (text === undefined) { continue; }
      if (size(text) > limit) { entry.truncated = true; continue; }
      entry[isText ? "data" : "json_data"][mime] = text;
    }
  }
  function lookUp(name) {
    // Only an identifier is ever evaluated: that alone reaches what let and const declare.
    if (!/^[\\p{ID_Start}$_][\\p{ID_Continue}$\\u200c\\u200d]*$/u.test(name)
        || /^(?:this|null|true|false)$/.test(name)) {
      return { problem: "impossible" };
    }
    const evaluate = globalThis.eval;
    try {
      return { value: evaluate("(" + name + ")") };
    } catch (error) {
      if (error instanceof globalThis.ReferenceError) { return { problem: "missing" }; }
      if (error instanceof globalThis.SyntaxError) { return { problem: "impossible" }; }
      throw error;
    }
  }
  function typeName(value) {
    if (value === null) { return "null"; }
    if (typeof value !== "object") { return typeof value; }
    const name = value.constructor && value.constructor.name;
    return typeof name === "string" && name ? name : "Object";
  }
  function describe(name) {
    const found = lookUp(name);
    if (found.problem) { return found; }
    const value = found.value, entry = { type: typeName(value) };
    try {
      const json = writer();
      json.write(value, 0);
      entry.json = json.text();
    } catch (error) {
      if (error === tooLarge) {
        entry.problem = "large";
      } else {
        describeShown(entry, value);
      }
    }
    return entry;
  }
  function explain(error) {
    try {
      return String(error).slice(0, maxErrorLength);
    } catch (_) {
      return "";
    }
  }
  const entries = names.map((name) => {
    try {
      return describe(name);
    } catch (error) {
      return { error: explain(error) };
    }
  });
  const text = JSON.stringify(entries);
  let encoded;
  if (globalThis.Buffer) {
    encoded = globalThis.Buffer.from(text, "utf8").toString("base64");
  } else {
    const bytes = new globalThis.TextEncoder().encode(text);
    let binary = "";
    for (let start = 0; start < bytes.length; start += 8192) {
      binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
    }
    encoded = globalThis.btoa(binary);
  }
  globalThis.console.log("\\n" + marker + " " + encoded);
"""


class JavaScript(Language):
    """IJavascript, Deno and other kernels whose code sees ``process.env`` or ``Deno.env``."""

    name = "javascript"
    aliases = ("typescript", "deno", "js", "node", "nodejs", "ts")
    implementations = ("deno kernel",)
    programs = ("deno",)

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        pairs = [
            (name, None if raw is None else raw.decode(errors="replace"))
            for name, raw in variables.items()
        ]
        return _request(_SET, pairs)

    def _restoring(self) -> Request:
        return _request(_RESTORE, None)

    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request:
        return _request(_READ, (names, max_bytes, marker, MAX_DEPTH, MAX_ERROR_LENGTH))


def _request(source: str, data: object) -> Request:
    code = _CALL.format(source=source.strip(), data=base64_json(data))
    return Request(code=code, silent=False)
