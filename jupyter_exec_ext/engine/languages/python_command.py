"""What a Python kernel runs to start the guard of a command and to hand on what it writes."""

COMMAND = r"""
import base64, json, os, signal, subprocess, sys, threading

class Ending:
    def __init__(self, mime, line):
        self.bundle = {mime: line}

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.bundle

class Relay:
    def __init__(self):
        self.process = self.group = self.guard = None
        self.asked = self.told = 0

    def interrupt(self, *_):
        self.asked += 1
        self.pass_on()

    def pass_on(self):
        # Before its first word the guard is not ready to be asked.
        while self.group and self.told < self.asked:
            self.told += 1
            try:
                os.kill(self.guard, signal.SIGINT)
            except OSError:
                pass

    def run(self, blob, boot, options, publish):
        python = sys.executable or 'python3'
        self.process = subprocess.Popen(
            [python, *options, '-c', boot, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True)
        last = ''
        try:
            self.process.stdin.write(blob.encode() + b'\n.\n')
            self.process.stdin.flush()
            for line in self.process.stdout:
                last = line.decode('ascii', 'replace')
                words = last.split()
                if words[1:2] == ['b']:
                    self.group, self.guard = int(words[2]), int(words[3])
                    self.pass_on()
                publish(last)
        except BrokenPipeError:
            pass
        finally:
            # The end of its input ends the guard, and that all that it watches over.
            try:
                self.process.stdin.close()
            except OSError:
                pass
            self.process.stdout.close()
            self.process.wait()
            if last.split()[1:2] != ['x'] and self.group:
                try:
                    os.killpg(self.group, signal.SIGKILL)
                except OSError:
                    pass
        return last

def main(data):
    blob, boot, options, mime, failure = json.loads(base64.b64decode(data))
    get_shell = getattr(sys.modules.get('IPython'), 'get_ipython', lambda: None)
    shell = get_shell()
    kernel = getattr(shell, 'kernel', None)

    def publish(line):
        if hasattr(kernel, 'send_response'):
            content = {'data': {mime: line}, 'metadata': {}, 'transient': {}}
            kernel.send_response(kernel.iopub_socket, 'display_data', content)
        elif shell is not None:
            shell.display_pub.publish({mime: line})
        else:
            sys.stdout.write(line)
            sys.stdout.flush()

    if not hasattr(os, 'fork'):
        for line in failure:
            publish(line)
        return Ending(mime, failure[-1])
    relay = Relay()
    is_main = threading.current_thread() is threading.main_thread()
    # Not as an exception, which could come between any two lines here.
    previous = signal.signal(signal.SIGINT, relay.interrupt) if is_main else None
    try:
        return Ending(mime, relay.run(blob, boot, options, publish))
    finally:
        if is_main:
            signal.signal(signal.SIGINT, previous or signal.SIG_DFL)
"""
