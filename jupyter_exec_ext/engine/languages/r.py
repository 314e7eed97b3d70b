"""R: IRkernel, through a private MIME type that it publishes even for silent requests.

Unlike standard output that also works while the user diverts output with ``sink()``. The code runs
in an environment below base R's, so that nothing the user defined takes part in it.
"""

from collections.abc import Iterable, Mapping

from jupyter_exec_ext.engine.languages.exchange import (
    MAX_DEPTH,
    MAX_ERROR_LENGTH,
    READING_MIME,
    Language,
    Request,
    base64_of,
)
from jupyter_exec_ext.engine.languages.guarding import (
    BOOT,
    NO_PYTHON,
    OPTIONS,
    Guarding,
    failing_lines,
    pythons,
)

_CHUNK = 2_000
"""Characters of one string literal."""

_CALL = (
    "base::invisible(base::eval(base::as.call(base::list(base::eval(base::quote({source}),"
    " base::new.env(parent = base::baseenv())), {data})), base::new.env(parent = base::baseenv())))"
)

_SET = """
function(data) {
  decode <- function(text) rawToChar(jsonlite::base64_dec(text))
  previous <- getOption("jupyter_exec_ext.environment", list())
  for (pair in data) {
    name <- decode(pair[[1]])
    if (is.null(previous[[name]])) previous[[name]] <- Sys.getenv(name, unset = NA)
  }
  options(jupyter_exec_ext.environment = previous)
  for (pair in data) {
    name <- decode(pair[[1]])
    if (is.null(pair[[2]])) {
      Sys.unsetenv(name)
      next
    }
    value <- list(decode(paste0(pair[[2]], collapse = "")))
    names(value) <- name
    if (!do.call(Sys.setenv, value)) stop("an environment variable could not be set")
  }
}
"""

_RESTORE = """
function(data) {
  previous <- getOption("jupyter_exec_ext.environment", list())
  options(jupyter_exec_ext.environment = NULL)
  for (name in names(previous)) {
    if (is.na(previous[[name]])) Sys.unsetenv(name) else do.call(Sys.setenv, previous[name])
  }
}
"""

_READ = """
function(data) {
  names <- data[[1]]; limit <- data[[2]]; marker <- data[[3]]; mime <- data[[4]]
  max_depth <- data[[5]]; max_error_length <- data[[6]]
  refuse <- function(kind) {
    stop(structure(class = c(kind, "error", "condition"), list(message = kind, call = NULL)))
  }
  left <- 0
  spend <- function(text) {
    left <<- left - sum(nchar(text, "bytes"))
    if (left < 0) refuse("too_large")
    text
  }
  json_text <- function(x) {
    as.character(jsonlite::toJSON(x, auto_unbox = TRUE, na = "null"))
  }
  distinct <- function(keys) {
    if (anyNA(keys) || any(keys == "") || anyDuplicated(keys) > 0) refuse("not_json")
    keys
  }
  utf8 <- function(x) {
    if (length(x) == 0) return(x)
    if (sum(nchar(x, "bytes"), na.rm = TRUE) > left) refuse("too_large")
    # Also where the locale is not UTF-8, what has no declared encoding may be it.
    encodings <- Encoding(x)
    Encoding(x)[encodings == "unknown"] <- "UTF-8"
    if (any(encodings == "bytes") || !all(validUTF8(x[!is.na(x)]))) refuse("not_json")
    enc2utf8(x)
  }
  quoted <- function(x) vapply(utf8(x), json_text, "", USE.NAMES = FALSE)
  # One call for a whole vector is far faster than one for each string.
  strings <- function(x) spend(as.character(jsonlite::toJSON(utf8(x), na = "null")))
  numbers <- function(x) {
    if (any(is.nan(x) | is.infinite(x))) refuse("not_json")
    if (length(x) > left) refuse("too_large")
    # As few digits as give the same number again.
    text <- sprintf("%.15g", x)
    for (format in c("%.16g", "%.17g")) {
      inexact <- !is.na(x) & suppressWarnings(as.numeric(text)) != x
      text[inexact] <- sprintf(format, x[inexact])
    }
    text[is.na(x)] <- "null"
    text
  }
  elements <- function(x) {
    if (length(x) > left) refuse("too_large")
    if (is.logical(x)) ifelse(is.na(x), "null", ifelse(x, "true", "false"))
    else if (is.integer(x)) ifelse(is.na(x), "null", sprintf("%d", x))
    else if (is.double(x)) numbers(x)
    else if (is.character(x)) quoted(x)
    else refuse("not_json")
  }
  encode <- function(x, depth) {
    if (depth > max_depth) refuse("not_json")
    if (is.null(x)) return(spend("null"))
    if (is.object(x) || !all(names(attributes(x)) %in% "names")) refuse("not_json")
    keys <- names(x)
    if (is.list(x)) {
      if (length(x) > left) refuse("too_large")
      items <- vapply(x, encode, "", depth + 1, USE.NAMES = FALSE)
    } else {
      if (is.character(x) && is.null(keys) && length(x) != 1) return(strings(x))
      items <- spend(elements(x))
      if (is.null(keys) && length(items) == 1) return(items)
    }
    if (is.null(keys)) {
      spend(strrep(" ", 2 + length(items)))
      paste0("[", paste0(items, collapse = ","), "]")
    } else {
      keys <- spend(quoted(distinct(keys)))
      spend(strrep(" ", 2 + 2 * length(items)))
      paste0("{", paste0(keys, ":", items, collapse = ","), "}")
    }
  }
  shown <- function(x) {
    error <- NULL
    note <- function(e) if (is.null(error)) error <<- conditionMessage(e)
    types <- "text/plain"
    if (isTRUE(getOption("jupyter.rich_display", TRUE))) {
      types <- unique(c(types, getOption("jupyter.display_mimetypes")))
    }
    parts <- IRdisplay::prepare_mimebundle(x, types, error_handler = note)$data
    entry <- list(data = list(), json_data = list())
    for (type in names(parts)) {
      part <- parts[[type]]
      key <- "data"
      if (is.raw(part)) {
        if (length(part) > limit) { entry$truncated <- TRUE; next }
        part <- gsub("[[:space:]]", "", jsonlite::base64_enc(part))
      } else if (is.character(part)) {
        part <- paste0(part, collapse = "\\n")
      } else {
        key <- "json_data"
        part <- json_text(part)
      }
      if (nchar(part, "bytes") > limit) { entry$truncated <- TRUE; next }
      entry[[key]][[type]] <- part
    }
    if (length(entry$data) + length(entry$json_data) == 0) entry$error <- error
    entry
  }
  describe <- function(name) {
    if (name == "") return(list(problem = "impossible"))
    if (!exists(name, envir = globalenv(), inherits = FALSE)) return(list(problem = "missing"))
    x <- get(name, envir = globalenv(), inherits = FALSE)
    entry <- list(type = class(x)[[1]])
    left <<- limit
    tryCatch({
      entry$json <- encode(x, 0)
      entry
    },
    too_large = function(e) c(entry, problem = "large"),
    not_json = function(e) c(entry, shown(x)))
  }
  explain <- function(e) {
    list(error = substr(enc2utf8(conditionMessage(e)), 1, max_error_length))
  }
  read <- function(code) {
    tryCatch({
      name <- rawToChar(jsonlite::base64_dec(code))
      Encoding(name) <- "UTF-8"
      entry <- describe(name)
      for (key in c("data", "json_data")) {
        entry[[key]] <- if (length(entry[[key]]) > 0) as.list(entry[[key]])
      }
      json_text(entry)
    }, error = function(e) json_text(explain(e)))
  }
  texts <- suppressWarnings(suppressMessages(vapply(names, read, "", USE.NAMES = FALSE)))
  text <- enc2utf8(paste0("[", paste0(texts, collapse = ","), "]"))
  encoded <- gsub("[[:space:]]", "", jsonlite::base64_enc(charToRaw(text)))
  bundle <- list(paste(marker, encoded))
  names(bundle) <- mime
  IRdisplay::publish_mimebundle(bundle)
}
"""

# Its lines come through a FIFO, so that the guard's standard input can be a pipe that ends with R.
_COMMAND = r"""
function(data) suspendInterrupts({
  mime <- data[[2]]; marker <- data[[3]]
  folder <- tempfile("jupyter-exec-")
  dir.create(folder, mode = "0700")
  on.exit(unlink(folder, recursive = TRUE), add = TRUE)
  path <- file.path(folder, "lines")
  if (system2("mkfifo", shQuote(path)) != 0) stop("no FIFO could be made")
  output <- fifo(path, "r", blocking = FALSE)
  on.exit(close(output), add = TRUE, after = FALSE)
  input <- pipe(paste0(
    "exec 2>/dev/null >", shQuote(path), "; for p in ", paste(shQuote(data[[4]]), collapse = " "),
    "; do if command -v \"$p\" >&2; then exec \"$p\" ", data[[5]], " -c ", shQuote(data[[6]]),
    "; fi; done; printf '%s\\n' ", paste(shQuote(data[[7]]), collapse = " ")), "w")
  on.exit(close(input), add = TRUE, after = FALSE)
  writeLines(c(data[[1]], "."), input)
  flush(input)
  guard <- group <- NA
  asked <- told <- 0L
  last <- ""
  was_gone <- FALSE
  has_ended <- function() {
    # Without /proc nobody knows whether it is a zombie.
    is_gone <- !is.na(guard) && dir.exists("/proc/self/fd") &&
      !file.exists(sprintf("/proc/%d/fd/0", guard))
    is_gone || (is.na(guard) && asked > 1L)
  }
  repeat {
    lines <- readLines(output, warn = FALSE)
    if (length(lines) > 0) {
      bundle <- list(paste(lines, collapse = "\n"))
      names(bundle) <- mime
      IRdisplay::publish_mimebundle(bundle)
      begun <- lines[startsWith(lines, paste(marker, "b"))]
      if (length(begun) > 0) {
        numbers <- as.integer(strsplit(begun[[1]], " ")[[1]][3:4])
        group <- numbers[[1]]; guard <- numbers[[2]]
      }
      last <- lines[[length(lines)]]
    } else if (was_gone) break
    # Its last line may have come since this read.
    was_gone <- has_ended()
    if (startsWith(last, paste(marker, "x"))) break
    pause <- if (length(lines) > 0) 0 else 0.01
    tryCatch(allowInterrupts(Sys.sleep(pause)), interrupt = function(e) asked <<- asked + 1L)
    if (!is.na(guard) && told < asked) {
      told <- told + 1L
      tools::pskill(guard, tools::SIGINT)
    }
  }
  invisible(NULL)
})
"""


class R(Language):
    """IRkernel; jsonlite, repr and IRdisplay come with it."""

    name = "r"
    implementations = ("irkernel",)
    programs = ("IRkernel::main()",)
    aliases = ("ir", "irkernel")
    guarding = Guarding()

    def run_command(self, blob: str, *, marker: str) -> Request:
        """Start the guard with any Python, and publish its lines."""
        data = (
            _strings(_chunks(blob)),
            _string(READING_MIME),
            _string(marker),
            _strings(pythons()),
            _string(" ".join(OPTIONS)),
            _escaped(BOOT),
            _strings(failing_lines(marker, NO_PYTHON)),
        )
        return _request(_COMMAND, ", ".join(data))

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        pairs = (
            f"base::list({_string(base64_of(name))}, {_value(value)})"
            for name, value in variables.items()
        )
        return _request(_SET, ",\n".join(pairs))

    def _restoring(self) -> Request:
        return _request(_RESTORE, "")

    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request:
        data = (
            _strings(base64_of(name) for name in names),
            str(max_bytes),
            _string(marker),
            _string(READING_MIME),
            str(MAX_DEPTH),
            str(MAX_ERROR_LENGTH),
        )
        return _request(_READ, ", ".join(data))


def _request(source: str, data: str) -> Request:
    return Request(code=_CALL.format(source=source.strip(), data=f"base::list({data})"))


def _value(raw: bytes | None) -> str:
    return "NULL" if raw is None else _strings(_chunks(base64_of(raw)))


def _chunks(text: str) -> Iterable[str]:
    return (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))


def _string(text: str) -> str:
    """Return the literal of *text*, which is base64 or one of our own words."""
    return f'"{text}"'


def _escaped(text: str) -> str:
    """Return the literal of *text*, which is a program of ours."""
    return _string(text.replace("\\", "\\\\").replace('"', '\\"'))


def _strings(texts: Iterable[str]) -> str:
    """Return the vector of *texts*, with empty base64 for a value that is empty."""
    return f"base::c({', '.join(map(_string, texts)) or _string('')})"
