# ruff: noqa: PTH101, PTH103, PTH105, PTH106, PTH108, PTH111, PTH116, PTH120, PTH123, PTH208, SIM105, S606
"""Holds one command and everything it starts: `python -I -S -c STUB DIRECTORY RECORD LOG PIECE INPUT ARGV…`.

Why a process between us and the shell: it is the subreaper of all that the command starts, so a `setsid` grandchild
cannot slip away; it sees its standard input close when we die, however we die, and ends what it holds; and it writes
the output to disk, so that a command that prints gigabytes costs the gateway neither memory nor time. It knows
nothing of hermes. It starts with every command, so it imports what costs little: 12 ms, where pathlib, signal (enum)
and ctypes would add 15, and a script that is not imported, but compiled each time, 10 more.

Told on standard input, a line each: `kill MILLISECONDS` (SIGTERM, then SIGKILL), `write HEX` (the command's input),
`close` (ends that input; INPUT is `pipe` where there is one, else `none`). End of file means that we are gone:
everything is killed.
Tells on standard output: `pid N`, `exit CODE` (negative: the signal), `left N` (how many processes still run then),
`gone` (nothing is left).

With `own:R,W` for INPUT the command talks over our standard streams itself (an MCP server does): we are told things
over the descriptor R, tell them over W, and write no LOG.

INPUT may begin with what the command is (docs/adr/0112). Nothing: a shell. `wrapped:`: a program that holds the shell
and dies of SIGTERM: only what is below it is asked to end. `far:`: a client of another machine, where a `Holder`
of this same file has the shell: what is told above goes on to it through the client's input, and what it tells comes
back as the client's error output; `raw HEX` is for that input as it is.
"""

import _signal as signal  # type: ignore[import-not-found] # what signal.py is made of
import os
import select
import sys
import time

STUB = "import sys; sys.path.append(sys.argv[1]); import supervisor; supervisor.main(sys.argv[2:])"
"""The program for `-c`: imported, and so compiled once."""

BASH = ("--noprofile", "--norc", "-c", 'eval "$(<"$1")"', "bash")
SH = ("-c", 'eval "$(cat "$1")"', "sh")
"""What follows the name of a shell that runs the file whose path comes last."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORPHANED_GRACE_SECONDS = 0.5
FAR_SECONDS = 0.4
"""What the other machine gets beyond the grace to tell that all is ended, before the client is killed."""
TOLD = b"\x1ehermes:"
"""What a line of a holder begins with, to be told from what the client prints."""
READ_BYTES = 1 << 16
KEPT_SECONDS = 30 * 24 * 3600
"""How long a session that is not spoken to leaves something on another machine."""
SETTLING_SECONDS = 0.002


def prctl(option: int, value: int) -> bool:
    """False where the system has no such thing (macOS): then a process group is all we can hold."""
    if not sys.platform.startswith("linux"):
        return False
    import _ctypes

    address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None: this program
    return bool(_ctypes.call_function(address, (option, value, 0, 0, 0)) == 0)


def stat_of(pid: int | str) -> tuple[bytes, int, int] | None:
    """(state, parent, start time in clock ticks) of a process, None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[19])


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if name.isdigit():
            stat = stat_of(name)
            if stat is not None and stat[0] != b"Z":
                children.setdefault(stat[1], []).append(int(name))
    found, queue = [], [root]
    while queue:
        for child in children.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return found


class Log:
    """The output in pieces: the first and the newest two are kept, so that a disk cannot fill up."""

    def __init__(self, path: str, piece_bytes: int) -> None:
        self.path, self.piece_bytes, self.number, self.size = path, piece_bytes, 0, 0
        self.file = self.open(path)

    def open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        while data:
            room = self.piece_bytes - self.size
            if room == 0:
                self.turn_over()
                continue
            try:
                self.size += (written := os.write(self.file, data[:room]))
            except OSError:  # the disk is full: the command goes on, its output is lost from here
                return
            data = data[written:]

    def turn_over(self) -> None:
        os.close(self.file)
        self.number, self.size = self.number + 1, 0
        if self.number > 2:
            os.unlink(f"{self.path}.{self.number - 2}")
        self.file = self.open(f"{self.path}.{self.number}")


class Supervisor:
    def __init__(
        self,
        record: str,
        log: Log,
        has_input: bool,
        argv: list[str],
        kind: str = "near",
        own_streams: tuple[int, int] | None = None,
    ) -> None:
        self.record, self.log, self.has_input, self.argv, self.kind = record, log, has_input, argv, kind
        self.is_on_our_streams = own_streams is not None
        self.listens, self.tells = own_streams or (0, 1)
        self.exit_code: int | None = None
        self.far_code: int | None = None
        self.told: int | None = None
        self.heard = b""
        self.is_reported = False
        self.control = b""
        self.to_write = b""
        self.input: int | None = None
        self.closes_input = False
        self.kill_at: float | None = None
        self.is_subreaper = prctl(PR_SET_CHILD_SUBREAPER, 1)

    def tell(self, line: str) -> None:
        try:
            os.write(self.tells, line.encode() + b"\n")
        except OSError:
            pass

    def start(self) -> None:
        self.output, output = os.pipe()
        if self.has_input or self.kind == "far":
            stdin, self.input = os.pipe()
            os.set_blocking(self.input, False)
        else:
            stdin = os.open(os.devnull, os.O_RDONLY)
        errors = output
        if self.kind == "far":
            self.told, errors = os.pipe()
            os.set_blocking(self.told, False)
        self.write_record(0)
        supervisor = os.getpid()
        self.main = os.fork()
        if self.main == 0:
            self.run_command(stdin, output, errors, supervisor)
        os.close(output)
        if errors != output:
            os.close(errors)
        if self.is_on_our_streams:  # the command's alone: whoever reads them sees their end when it ends
            for stream in (0, 1, 2):
                os.dup2(stdin, stream)
        os.close(stdin)
        os.set_blocking(self.output, False)
        self.write_record(self.main)
        self.tell(f"pid {self.main}")

    def run_command(self, stdin: int, output: int, errors: int, supervisor: int) -> None:
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:
                os._exit(127)
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGCHLD,
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):
                signal.signal(number, signal.SIG_DFL)
            if not self.is_on_our_streams:
                os.dup2(stdin, 0)
                os.dup2(output, 1)
                os.dup2(errors, 2)
            os.execvp(self.argv[0], self.argv)
        except OSError as error:
            os.write(2, f"cannot start {self.argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def write_record(self, main: int) -> None:
        """For `reap`, should even this process be killed: pid and start time of the gateway, of us, of the command."""
        if not self.record:
            return
        parts = []
        for pid in (os.getppid(), os.getpid(), main):
            parts += [pid, (stat_of(pid) or (b"", 0, 0))[2]]
        with open(self.record + ".new", "w") as file:
            file.write(" ".join(map(str, parts)) + "\n")
        os.replace(self.record + ".new", self.record)

    def run(self) -> None:
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.kill(ORPHANED_GRACE_SECONDS))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.start()
        reading = {self.listens, self.output, wake} | ({self.told} if self.told is not None else set())
        while True:
            has_children = self.reap()
            is_settling = False
            if self.exit_code is not None and not self.is_reported and self.kind != "wrapped":
                self.pump(reading)
                left = len(descendants(os.getpid())) if has_children else 0
                is_settling = has_children and not left  # one is just ending, or was born while we looked
                if left:
                    self.report(left)
            if self.exit_code is not None and self.kind == "wrapped":  # what is below it is dying, too
                self.end_all()
                break
            if not has_children and (self.is_subreaper or self.output not in reading):
                break
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self.end_all()
                break
            wait = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            if is_settling:
                wait = SETTLING_SECONDS
            writing = [self.input] if self.input is not None and self.to_write else []
            ready, writable, _ = select.select(reading, writing, [], wait)
            if wake in ready:
                self.drain(wake)
            if self.output in ready:
                self.pump(reading, READ_BYTES)
            if self.told in ready:
                self.hear(reading)
            if writable:
                self.feed()
            if self.listens in ready and not self.listen():
                reading.discard(self.listens)
        self.hear(reading)
        self.pump(reading)
        if not self.is_reported:
            self.report(0)
        if self.record:
            os.unlink(self.record)
        self.tell("gone")

    def reap(self) -> bool:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def report(self, left: int) -> None:
        self.is_reported = True
        code = self.exit_code if self.far_code is None else self.far_code
        self.tell(f"exit {-9 if code is None else code}")
        self.tell(f"left {left}")

    def pump(self, reading: set[int], most: int | None = None) -> None:
        """Take what the pipe holds, or at most `most` bytes of it."""
        taken = 0
        while self.output in reading and (most is None or taken < most):
            try:
                data = os.read(self.output, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                reading.discard(self.output)
                return
            self.log.write(data)
            taken += len(data)
            if most is None and taken > 1 << 22:  # something that still runs floods it: enough for a last look
                return

    def hear(self, reading: set[int]) -> None:
        """What the holder tells, and what the client itself complains of, which is output."""
        while self.told is not None and self.told in reading:
            try:
                data = os.read(self.told, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                reading.discard(self.told)
                self.log.write(self.heard)
                return
            *lines, self.heard = (self.heard + data).split(b"\n")
            for line in lines:
                word, _, value = line.partition(b" ")
                number = int(value) if value.lstrip(b"-").isdigit() and len(value) < 20 else 0
                if word == TOLD + b"exit":
                    self.far_code = number
                elif word == TOLD + b"left":
                    self.pump(reading)
                    if number and not self.is_reported:
                        self.report(number)
                elif not word.startswith(TOLD):
                    self.log.write(line + b"\n")
            if len(self.heard) > READ_BYTES:  # no line of ours
                self.log.write(self.heard)
                self.heard = b""

    def drain(self, pipe: int) -> None:
        try:
            while os.read(pipe, 512):
                pass
        except BlockingIOError:
            pass

    def listen(self) -> bool:
        data = os.read(self.listens, READ_BYTES)
        if not data:
            self.kill(ORPHANED_GRACE_SECONDS)
            return False
        *lines, self.control = (self.control + data).split(b"\n")
        for line in lines:
            word, _, value = line.partition(b" ")
            if word == b"kill":
                self.kill(int(value) / 1000)
            elif word == b"raw":
                self.to_write += bytes.fromhex(value.decode())
            elif self.kind == "far":
                self.to_write += line + b"\n"
            elif word == b"write":
                self.to_write += bytes.fromhex(value.decode())
            elif word == b"close":
                self.closes_input = True
        self.feed()
        return True

    def feed(self) -> None:
        if self.input is None:
            return
        try:
            if self.to_write:
                self.to_write = self.to_write[os.write(self.input, self.to_write) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self.to_write, self.closes_input = b"", True
        if self.closes_input and not self.to_write:
            os.close(self.input)
            self.input = None

    def kill(self, grace: float) -> None:
        if self.kind == "far":  # the holder does it, and the client ends with it
            self.to_write += b"kill %d\n" % int(grace * 1000)
            self.feed()
            grace += FAR_SECONDS
        at = time.monotonic() + grace
        is_asked = self.kill_at is not None
        self.kill_at = min(at, self.kill_at) if self.kill_at is not None else at
        if is_asked:  # once is enough: what cleans up on SIGTERM would do it again
            return
        below = descendants(os.getpid())
        self.send([pid for pid in below if self.kind == "near" or pid != self.main], signal.SIGTERM, signal.SIGCONT)

    def send(self, pids: list[int] | set[int], *signals: int) -> None:
        for pid in pids:
            for number in signals:
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
        if not self.is_subreaper:
            for number in signals:
                try:
                    os.killpg(self.main, number)
                except OSError:
                    pass

    def end_all(self) -> None:
        """Stop each before killing any: what is stopped cannot fork while we look for its children."""
        deadline = time.monotonic() + 5
        while self.reap() and time.monotonic() < deadline:
            stopped: set[int] = set()
            for _ in range(50):
                fresh = [pid for pid in descendants(os.getpid()) if pid not in stopped]
                if not fresh:
                    break
                self.send(fresh, signal.SIGSTOP)
                stopped.update(fresh)
            self.send(stopped, signal.SIGKILL)
            time.sleep(0.002)


def main(arguments: list[str]) -> None:
    record, log, piece_bytes, stdin, *argv = arguments
    own_streams = None
    if stdin.startswith("own:"):
        listens, _, tells = stdin[4:].partition(",")
        own_streams, stdin = (int(listens), int(tells)), "none"
        for descriptor in own_streams:  # what the command starts must not hold them
            os.set_inheritable(descriptor, False)
    kind, _, stdin = stdin.rpartition(":")
    Supervisor(record, Log(log, int(piece_bytes)), stdin == "pipe", argv, kind or "near", own_streams).run()
    os._exit(0)


class Printed(Log):
    """What a holder does with the output: it goes on to whoever runs the client."""

    def __init__(self) -> None:
        self.piece_bytes, self.size, self.file = 1 << 62, 0, 1


class Holder(Supervisor):
    """On the other machine. Tells on its error output; its input ends when the client does, and all it holds then."""

    def tell(self, line: str) -> None:
        try:
            os.write(2, TOLD + line.encode() + b"\n")
        except OSError:
            pass


def hold(*, name: str, state: str, script: str, has_input: bool, shell: list[str], mark: str) -> None:
    """Run `script` in a shell and end with it. `shell` empty: bash, or sh where it is missing. `state` may begin with
    `~`: a directory for the script, and for what it leaves for the next one."""
    state = os.path.expanduser(state)
    os.makedirs(state, 0o700, exist_ok=True)
    os.chmod(state, 0o700)
    file = f"{state}/{name}.sh"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(script.encode("utf-8", "surrogateescape"))
    os.environ[mark] = name
    os.environ["HERMES_STATE"] = state
    try:
        Holder("", Printed(), has_input, [*(shell or found_shell()), file]).run()
    finally:
        os.unlink(file)
        os._exit(0)


def found_shell() -> list[str]:
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if os.access(f"{place}/bash", os.X_OK):
            return [f"{place}/bash", *BASH]
    return ["/bin/sh", *SH]


def look(*, state: str, takes: bool) -> None:
    """Print the directory that the last call ended in. `takes`: what it left is what the next one starts from."""
    state = os.path.expanduser(state)
    if not takes:
        forget_old(os.path.dirname(state))
    for name in ("environment", "directory"):
        try:
            if takes:
                os.replace(f"{state}/{name}.new", f"{state}/{name}")
        except OSError:
            pass
    try:
        with open(f"{state}/directory", "rb") as file:
            os.write(1, file.read(1 << 16))
    except OSError:
        pass


def forget(*, state: str) -> None:
    """Remove what a session left; nothing is a failure of that."""
    state = os.path.expanduser(state)
    try:
        for name in os.listdir(state):
            os.unlink(f"{state}/{name}")
        os.rmdir(state)
    except OSError:
        pass


def forget_old(states: str) -> None:
    try:
        for name in os.listdir(states):
            if os.stat(f"{states}/{name}").st_mtime < time.time() - KEPT_SECONDS:
                forget(state=f"{states}/{name}")
    except OSError:
        pass
