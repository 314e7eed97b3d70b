"""The program that reads values in a Python kernel; it is installed there once.

``main`` gets base64 of JSON: the names of variables and how many bytes each may have; ``null``
instead of the names asks for the value of the execution that has just ended.
"""

from hashlib import sha256

from jupyter_exec_ext.engine.languages.exchange import MAX_DEPTH, MAX_ERROR_LENGTH, READING_MIME

_CONSTANTS = f"""
READING_MIME = {READING_MIME!r}
MAX_DEPTH = {MAX_DEPTH}
MAX_ERROR_LENGTH = {MAX_ERROR_LENGTH}
"""

_READER = """
import base64, json, sys, threading, unicodedata

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
            if not is_text(value):
                raise NotJson
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

def is_text(value):
    # Half a surrogate pair is none: no UTF-8 can hold it.
    try:
        return str.isascii(value) or bool(str.encode(value))
    except UnicodeEncodeError:
        return False

def current_shell():
    ipython = sys.modules.get('IPython')
    return ipython.get_ipython() if ipython else None

def explain(error):
    try:
        text = str(error)
    except Exception:
        text = ''
    return (type_name(type(error)) + (': ' + text if text else ''))[:MAX_ERROR_LENGTH]

def show(value):
    # What the display formatter makes of it, and the errors on the way. The formatter publishes
    # those, and an object may display itself: neither may reach the notebook.
    shell = current_shell()
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

def describe_json(value, limit):
    entry = {'type': type_name(type(value))}
    writer = Writer(limit)
    try:
        writer.write(value)
        entry['json'] = writer.text()
    except TooLarge:
        entry['problem'] = 'large'
    except NotJson:
        pass
    return entry

def describe(namespace, name, limit):
    if name not in namespace:
        # Source code is read in this normal form, so that is how names are bound.
        name = unicodedata.normalize('NFKC', name)
    if name not in namespace:
        return {'problem': 'missing' if name.isidentifier() else 'impossible'}
    value = namespace[name]
    entry = describe_json(value, limit)
    if 'json' not in entry and 'problem' not in entry:
        entry.update(describe_shown(value, limit))
    return entry

def read_variables(namespace, names, limit):
    for name in names:
        try:
            yield describe(namespace, name, limit)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            yield {'error': explain(error)}

class DisplayWatch:
    # IPython keeps one last result for all its threads, so executions in subshells mix them up.
    # This notes what each thread displayed last, and in which execution.
    def __init__(self, shell):
        self.shell = shell
        self.hook = getattr(shell, 'displayhook', None)
        self.shown = {}
        self.is_new = True
        if self.execution_id():
            self.fill = self.hook.fill_exec_result
            self.hook.fill_exec_result = self.note

    def execution_id(self):
        return getattr(self.hook, 'parent_header', {}).get('msg_id')

    def note(self, value):
        self.shown[threading.get_ident()] = self.execution_id(), value
        self.fill(value)

    def take(self):
        # What this execution displayed last; None for nothing.
        execution_id = self.execution_id()
        shown_in, value = self.shown.pop(threading.get_ident(), (None, None))
        if execution_id and not (self.is_new and not has_subshells()):
            return value if shown_in == execution_id else None
        result = getattr(self.shell, 'last_execution_result', None)
        return result.result if result else None

def has_subshells():
    return any(thread.name.startswith('subshell-') for thread in threading.enumerate())

watch = DisplayWatch(current_shell())

def read_displayed(limit):
    value = watch.take()
    return [] if value is None else [describe_json(value, limit)]

class Reading:
    def __init__(self, text):
        self.text = text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {READING_MIME: self.text, 'text/plain': ''}

def main(data):
    names, limit = json.loads(base64.b64decode(data))
    # Python refuses to print integers of more digits than this, also inside containers.
    digits = getattr(sys, 'get_int_max_str_digits', lambda: None)()
    try:
        if digits is not None:
            sys.set_int_max_str_digits(0)
        if names is None:
            entries = read_displayed(limit)
        else:
            shell = current_shell()
            namespace = shell.user_ns if shell else sys.modules['__main__'].__dict__
            entries = list(read_variables(namespace, names, limit))
    finally:
        watch.is_new = False
        if digits is not None:
            sys.set_int_max_str_digits(digits)
    return Reading(json.dumps(entries, separators=(',', ':')))
"""

READER = _CONSTANTS + _READER

READER_NAME = f"_jupyter_exec_ext_{sha256(READER.encode()).hexdigest()[:16]}"
"""What it is called in the kernel's ``sys``: another version of it has another name."""
