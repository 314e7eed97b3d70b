"""Python: IPython kernels, through one user expression that is evaluated in a scope of its own.

Such an expression publishes nothing, binds no name, and calls none that the user could shadow:
it finds the builtins through the frame of a generator.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_exec_ext.engine.languages.exchange import (
    MAX_DEPTH,
    MAX_ERROR_LENGTH,
    READING_MIME,
    Language,
    Reply,
    Request,
    base64_json,
    entries_of,
    error_of,
)

_KEY = "jupyter_exec_ext"

_EXPRESSION = (
    "(lambda b, s, d: (lambda n: (b['exec'](s, n), n['main'](d))[1])"
    "({{'__builtins__': b, '__name__': 'jupyter_exec_ext'}}))"
    "((i for i in ()).gi_frame.f_builtins, {source!r}, {data!r})"
)

_SET = """
import base64, json, os, sys

def main(data):
    variables = json.loads(base64.b64decode(data))
    previous = sys.__dict__.setdefault('_jupyter_exec_ext_environment', {})
    for name in variables:
        previous.setdefault(name, os.environ.get(name))
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
"""

_RESTORE = """
import os, sys

def main(data):
    previous = sys.__dict__.pop('_jupyter_exec_ext_environment', {})
    for name, value in previous.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
"""

_READ = """
import base64, json, sys, unicodedata

quote = json.encoder.encode_basestring_ascii
type_name = type.__dict__['__name__'].__get__

class NotJson(Exception):
    pass

class TooLarge(Exception):
    pass

class Writer:
    def __init__(self, limit):
        self.left = limit
        self.parts = []

    def text(self):
        return ''.join(self.parts)

    def add(self, text):
        self.left -= len(text)
        if self.left < 0:
            raise TooLarge
        self.parts.append(text)

    def write(self, value, depth=0):
        # The type is asked, never the object, which may lie about its class.
        kind = type(value)
        if value is None:
            self.add('null')
        elif kind is bool:
            self.add('true' if value else 'false')
        elif issubclass(kind, str):
            if str.__len__(value) > self.left:
                raise TooLarge
            self.add(quote(value))
        elif issubclass(kind, int):
            if int.bit_length(value) * 0.3 > self.left:
                raise TooLarge
            self.add(int.__repr__(value))
        elif issubclass(kind, float):
            text = float.__repr__(value)
            if text in ('nan', 'inf', '-inf'):
                raise NotJson
            self.add(text)
        elif depth >= MAX_DEPTH:
            raise NotJson
        elif issubclass(kind, (list, tuple)):
            self.add('[')
            base = list if issubclass(kind, list) else tuple
            for index, item in enumerate(base.__iter__(value)):
                if index:
                    self.add(',')
                self.write(item, depth + 1)
            self.add(']')
        elif issubclass(kind, dict):
            self.add('{')
            for index, (key, item) in enumerate(dict.items(value)):
                if not issubclass(type(key), str):
                    raise NotJson
                if index:
                    self.add(',')
                self.write(key)
                self.add(':')
                self.write(item, depth + 1)
            self.add('}')
        else:
            self.write_scalar(value)

    def write_scalar(self, value):
        # Scalars of numpy and its like have a shape, which is empty, and item().
        try:
            item = value.item() if type(value).item and value.shape == () else value
        except Exception:
            raise NotJson from None
        if type(item) not in (bool, int, float, str):
            raise NotJson
        self.write(item)

def explain(error):
    try:
        text = str(error)
    except Exception:
        text = ''
    return (type_name(type(error)) + (': ' + text if text else ''))[:MAX_ERROR_LENGTH]

def show(value):
    # What the display formatter makes of it, and the errors on the way. The formatter publishes
    # those, and an object may display itself: neither may reach the notebook.
    ipython = sys.modules.get('IPython')
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return {'text/plain': repr(value)}, []
    from IPython.utils.capture import capture_output
    errors = []
    def note(exc_tuple=None, *args, **kwargs):
        errors.append(exc_tuple[1] if exc_tuple else sys.exc_info()[1])
    former = shell.__dict__.get('showtraceback')
    shell.showtraceback = note
    try:
        with capture_output() as captured:
            bundle = shell.display_formatter.format(value)[0]
    finally:
        del shell.showtraceback
        if former is not None:
            shell.showtraceback = former
    if not bundle and captured.outputs:
        bundle = captured.outputs[0].data
    return bundle, errors

def describe_shown(value, limit):
    if issubclass(type(value), (bytes, bytearray)) and len(value) > limit:
        return {'problem': 'large'}
    bundle, errors = show(value)
    data, json_data, truncated = {}, {}, False
    for mime, part in bundle.items():
        if issubclass(type(part), (bytes, bytearray)):
            part = base64.b64encode(part).decode()
        if issubclass(type(part), str):
            if len(part.encode('utf-8', 'replace')) <= limit:
                data[mime] = part
            else:
                truncated = True
            continue
        writer = Writer(limit)
        try:
            writer.write(part)
            json_data[mime] = writer.text()
        except TooLarge:
            truncated = True
        except NotJson:
            errors.append(TypeError('what it shows as %s is not JSON' % mime))
    entry = {'data': data, 'json_data': json_data, 'truncated': truncated}
    if errors:
        entry['error'] = explain(errors[0])
    return entry

def describe(namespace, name, limit):
    if name not in namespace:
        # Source code is read in this normal form, so that is how names are bound.
        name = unicodedata.normalize('NFKC', name)
    if name not in namespace:
        return {'problem': 'missing' if name.isidentifier() else 'impossible'}
    value = namespace[name]
    entry = {'type': type_name(type(value))}
    writer = Writer(limit)
    try:
        writer.write(value)
        entry['json'] = writer.text()
    except TooLarge:
        entry['problem'] = 'large'
    except NotJson:
        writer = None
        entry.update(describe_shown(value, limit))
    return entry

def namespace_of_user():
    ipython = sys.modules.get('IPython')
    shell = ipython.get_ipython() if ipython else None
    return sys.modules['__main__'].__dict__ if shell is None else shell.user_ns

class Reading:
    def __init__(self, text):
        self.text = text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {READING_MIME: self.text, 'text/plain': ''}

def main(data):
    names, limit = json.loads(base64.b64decode(data))
    namespace = namespace_of_user()
    # Python refuses to print integers of more digits than this, also inside containers.
    digits = getattr(sys, 'get_int_max_str_digits', lambda: None)()
    entries = []
    try:
        if digits is not None:
            sys.set_int_max_str_digits(0)
        for name in names:
            try:
                entries.append(describe(namespace, name, limit))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                entries.append({'error': explain(error)})
    finally:
        if digits is not None:
            sys.set_int_max_str_digits(digits)
    return Reading(json.dumps(entries, separators=(',', ':')))
"""


class Python(Language):
    """IPython kernels and others with ``user_expressions`` and its display formatter."""

    name = "python"
    aliases = ("ipython", "python3")

    def environment_error(self, reply: Reply) -> str | None:
        """Return why setting or restoring failed, without any value; ``None`` when it worked."""
        expressions = reply.content.get("user_expressions")
        result = expressions.get(_KEY) if isinstance(expressions, Mapping) else None
        return error_of(reply.content) or error_of(result)

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        texts = {
            name: None if raw is None else raw.decode(errors="surrogateescape")
            for name, raw in variables.items()
        }
        return _request(_SET, texts)

    def _restoring(self) -> Request:
        return _request(_RESTORE, None)

    def _reading(self, names: tuple[str, ...], max_bytes: int, _marker: str) -> Request:
        constants = (
            f"READING_MIME = {READING_MIME!r}\n"
            f"MAX_DEPTH = {MAX_DEPTH}\n"
            f"MAX_ERROR_LENGTH = {MAX_ERROR_LENGTH}\n"
        )
        return _request(constants + _READ, [names, max_bytes])

    def _entries(self, reply: Reply, _marker: str, _names: tuple[str, ...]) -> Sequence[Any]:
        return entries_of(reply.content["user_expressions"][_KEY]["data"][READING_MIME])


def _request(source: str, data: object) -> Request:
    expression = _EXPRESSION.format(source=source, data=base64_json(data))
    return Request(code="", user_expressions={_KEY: expression})
