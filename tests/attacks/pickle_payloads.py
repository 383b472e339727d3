"""What malicious pickles call: over three hundred names in families.

Run by Python's own unpickler, most of them would touch the file `canary` or knock at `port` of this machine;
none does anything worse.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from attacks.pickle_gadgets import Rows, loaders, readers, state


class Payload(NamedTuple):
    """One call: family, module, name, arguments."""

    family: str
    module: str
    name: str
    args: tuple[Any, ...]

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}"


def payloads(canary: str, port: int = 9) -> list[Payload]:
    """All of them. `canary`: a file that must not come to be; `port`: on 127.0.0.1, must not be spoken to."""
    families = {**_programs(canary), **_python(canary), **readers(canary, port), **state(canary), **loaders(canary)}
    return [Payload(family, module, name, args) for family, rows in families.items() for module, name, args in rows]


def _programs(canary: str) -> Rows:
    """Ways to start a program."""
    touch, argv = f"touch {canary}", ["touch", canary]
    system = [(module, "system", (touch,)) for module in ("os", "posix", "nt", "posixpath.os", "ntpath.os")]
    names = ("call", "run", "Popen", "check_output", "check_call", "getoutput", "getstatusoutput")
    return {
        "os.system": system,
        "os.popen": [("os", "popen", (touch,)), ("nt", "popen", (touch,)), ("posix", "popen", (touch,))],
        "os.exec": [(m, name, ("/bin/touch", argv)) for m in ("os", "posix") for name in ("execv", "execvp")],
        "os.spawn": [("os", "spawnv", (1, "/bin/touch", argv)), ("os", "spawnlp", (1, "touch", *argv))],
        "os.posix_spawn": [("os", "posix_spawn", ("/bin/touch", argv, {}))],
        "os.fork": [("os", "fork", ()), ("os", "forkpty", ()), ("posix", "fork", ())],
        "os.startfile": [("os", "startfile", (canary,)), ("nt", "startfile", (canary,))],
        "os.files": [
            ("os", "open", (canary, 0o101)),
            ("os", "mkdir", (canary,)),
            ("os", "remove", (canary,)),
            ("os", "rename", (canary, canary + ".2")),
            ("os", "symlink", ("/", canary)),
            ("os", "putenv", ("PATH", canary)),
        ],
        "subprocess": [("subprocess", name, (touch,) if "get" in name else (argv,)) for name in names],
        "_posixsubprocess": [("_posixsubprocess", "fork_exec", (argv,))],
        "commands (Python 2)": [("commands", "getoutput", (touch,)), ("popen2", "popen2", (touch,))],
        "pty": [("pty", "spawn", (argv,)), ("pty", "fork", ())],
        "asyncio": [
            ("asyncio", "create_subprocess_shell", (touch,)),
            ("asyncio.subprocess", "create_subprocess_exec", tuple(argv)),
            ("asyncio.unix_events", "_UnixSubprocessTransport._start", (argv, True, None, None, None, 0)),
        ],
        "multiprocessing": [
            ("multiprocessing.util", "spawnv_passfds", (b"/bin/touch", argv, ())),
            ("multiprocessing", "Process", ()),
            ("multiprocessing.popen_fork", "Popen", (None,)),
            ("concurrent.futures", "ProcessPoolExecutor", ()),
        ],
        "webbrowser": [("webbrowser", "open", (f"file://{canary}",)), ("webbrowser", "get", (touch + " %s",))],
        "distutils": [
            ("distutils.spawn", "spawn", (argv,)),
            ("distutils.file_util", "write_file", (canary, ["x"])),
            ("setuptools.command.easy_install", "main", (["--version"],)),
        ],
        "pydoc": [("pydoc", "pipepager", ("x", touch)), ("pydoc", "tempfilepager", ("x", touch))],
        "platform": [("platform", "popen", (touch,)), ("platform", "_syscmd_ver", ())],
        "antigravity": [("antigravity", "geohash", (37.4, -122.0, b"2005-05-26-10458.68"))],
    }


def _python(canary: str) -> Rows:
    """Ways to run Python."""
    code = f"open({canary!r}, 'w').close()"
    run = ("eval", "exec", "execfile", "compile", "getattr", "setattr", "open", "__import__", "breakpoint", "input")
    more = ("globals", "vars", "type", "object", "print", "map", "apply", "reload", "memoryview", "super", "hasattr")
    first = {"compile": (code, "x", "exec"), "getattr": ("x", "join"), "open": (canary, "w"), "__import__": ("os",)}
    args = {**dict.fromkeys(("eval", "exec"), (code,)), **first}
    return {
        "builtins": [("builtins", name, args.get(name, ())) for name in (*run, *more)],
        "__builtin__ (Python 2)": [("__builtin__", name, args.get(name, ())) for name in (*run, *more)],
        "runpy": [
            ("runpy", "run_path", (canary,)),
            ("runpy", "_run_code", (code, {})),
            ("runpy", "run_module", ("this",)),
        ],
        "importlib": [
            ("importlib", "import_module", ("antigravity",)),
            ("importlib.machinery", "SourceFileLoader", ("x", canary)),
            ("importlib.util", "spec_from_file_location", ("x", canary)),
            ("importlib._bootstrap", "_call_with_frames_removed", (None,)),
            ("imp", "load_source", ("x", canary)),
            ("pkgutil", "resolve_name", ("os:system",)),
            ("zipimport", "zipimporter", (canary,)),
        ],
        "code objects": [
            ("types", "FunctionType", (None, {})),
            ("types", "CodeType", (0, 0, 0, 0, 0, 0, b"", (), (), (), "", "", "", 0, b"", b"")),
            ("types", "MethodType", (None, 1)),
            ("marshal", "loads", (b"\xe3" + bytes(20),)),
            ("inspect", "getattr_static", ("x", "join")),
            ("_testcapi", "run_in_subinterp", (code,)),
            ("_xxsubinterpreters", "run_string", (0, code)),
        ],
        "operator": [
            ("operator", "attrgetter", ("system",)),
            ("operator", "methodcaller", ("system", f"touch {canary}")),
            ("operator", "itemgetter", (0,)),
            ("_operator", "attrgetter", ("__class__",)),
        ],
        "functools": [
            ("functools", "partial", (None, code)),
            ("functools", "reduce", (None, [code])),
            ("functools", "partialmethod", (None,)),
            ("_functools", "partial", (None,)),
            ("itertools", "starmap", (None, [(code,)])),
        ],
        "consoles": [
            ("code", "InteractiveInterpreter", ()),
            ("code", "interact", ()),
            ("codeop", "compile_command", (code,)),
            ("bdb", "Bdb.run", (None, code)),
            ("pdb", "run", (code,)),
            ("trace", "Trace.run", (None, code)),
        ],
        "profilers": [
            ("profile", "run", (code,)),
            ("profile", "Profile.run", (None, code)),
            ("cProfile", "run", (code,)),
            ("cProfile", "runctx", (code, {}, {})),
            ("timeit", "timeit", (code,)),
            ("timeit", "repeat", (code,)),
            ("timeit", "main", ([code],)),
        ],
        "doctest": [("doctest", "debug_script", (code,)), ("doctest", "testfile", (canary,))],
        "idlelib": [
            ("idlelib.pyshell", "ModifiedInterpreter.runcode", (None, code)),
            ("idlelib.debugobj", "ObjectTreeItem.SetText", (None, code)),
            ("idlelib.run", "Executive.runcode", (None, code)),
            ("idlelib.calltip", "get_entity", (code,)),
        ],
        "lib2to3": [("lib2to3.pgen2.grammar", "Grammar.loadgrammar", (None, canary))],
        "pip": [("pip", "main", (["--version"],)), ("pip._internal", "main", (["--version"],))],
        "ensurepip": [("ensurepip", "bootstrap", ()), ("ensurepip", "_run_pip", (["--version"],))],
        "venv": [("venv", "create", (canary,)), ("venv", "main", ([canary],))],
        "site": [("site", "addsitedir", (canary,)), ("site", "execsitecustomize", ())],
        "test": [("test.support.script_helper", "assert_python_ok", ("-c", code)), ("unittest", "main", ())],
        "uuid": [("uuid", "_get_command_stdout", ("touch", canary)), ("uuid", "_popen", ("touch", canary))],
        "_osx_support": [
            ("_osx_support", "_read_output", (f"touch {canary}",)),
            ("_aix_support", "_read_cmd_output", ("x",)),
        ],
        "ctypes": [("ctypes", "CDLL", (None,)), ("ctypes", "string_at", (0,)), ("_ctypes", "dlopen", ("libc.so.6", 2))],
        "cffi": [("cffi", "FFI", ()), ("_cffi_backend", "load_library", ("libc.so.6",))],
    }
