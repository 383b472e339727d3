"""More of what malicious pickles call: files, sockets, the process itself, and readers without any guard."""

from __future__ import annotations

from typing import Any

Rows = dict[str, list[tuple[str, str, tuple[Any, ...]]]]  # family -> module, name, arguments


def readers(canary: str, port: int) -> Rows:
    """Ways to open files, to write them, and to speak to others."""
    url = f"http://127.0.0.1:{port}/canary"
    return {
        "io": [
            ("io", "open", (canary, "w")),
            ("io", "FileIO", (canary, "w")),
            ("io", "open_code", (canary,)),
            ("_io", "open", (canary, "w")),
            ("_io", "FileIO", (canary, "w")),
            ("_pyio", "open", (canary, "w")),
            ("codecs", "open", (canary, "w")),
            ("tokenize", "open", (canary,)),
            ("linecache", "getlines", ("/etc/hostname",)),
            ("fileinput", "input", (canary,)),
        ],
        "shutil": [
            ("shutil", "rmtree", (canary,)),
            ("shutil", "copyfile", ("/dev/null", canary)),
            ("shutil", "move", (canary, "x")),
        ],
        "pathlib": [
            ("pathlib", "Path.write_text", (canary, "x")),
            ("pathlib", "Path.unlink", (canary,)),
            ("pathlib", "PosixPath.touch", ()),
        ],
        "tempfile": [("tempfile", "NamedTemporaryFile", ()), ("tempfile", "mkstemp", ())],
        "glob": [("glob", "glob", ("/*",)), ("os", "listdir", ("/",)), ("os", "walk", ("/",))],
        "archives": [
            ("zipfile", "ZipFile", (canary, "w")),
            ("tarfile", "open", (canary, "w")),
            ("gzip", "open", (canary, "w")),
            ("bz2", "BZ2File", (canary, "w")),
            ("lzma", "open", (canary, "w")),
        ],
        "logging": [
            ("logging", "FileHandler", (canary,)),
            ("logging.handlers", "RotatingFileHandler", (canary,)),
            ("logging.config", "fileConfig", (canary,)),
            ("logging.config", "listen", (port,)),
            ("logging.config", "_resolve", ("os.system",)),
        ],
        "databases": [
            ("sqlite3", "connect", (canary,)),
            ("dbm", "open", (canary, "c")),
            ("shelve", "open", (canary,)),
            ("mailbox", "mbox", (canary,)),
        ],
        "socket": [
            ("socket", "socket", ()),
            ("socket", "create_connection", (("127.0.0.1", port),)),
            ("socket", "getaddrinfo", ("localhost", port)),
            ("_socket", "socket", ()),
            ("socketserver", "TCPServer", (("127.0.0.1", 0), None)),
        ],
        "ssl": [("ssl", "get_server_certificate", (("127.0.0.1", port),)), ("ssl", "create_default_context", ())],
        "urllib": [
            ("urllib.request", "urlopen", (url,)),
            ("urllib.request", "urlretrieve", (url, canary)),
            ("urllib", "urlopen", (url,)),
            ("urllib2", "urlopen", (url,)),
            ("requests", "get", (url,)),
            ("requests.api", "post", (url,)),
            ("aiohttp.client", "ClientSession", ()),
        ],
        "http": [
            ("http.client", "HTTPConnection", ("127.0.0.1", port)),
            ("httplib", "HTTPConnection", ("127.0.0.1",)),
            ("http.server", "test", ()),
        ],
        "ftplib": [("ftplib", "FTP", ("127.0.0.1",))],
        "smtplib": [("smtplib", "SMTP", ("127.0.0.1", port)), ("poplib", "POP3", ("127.0.0.1", port))],
        "imaplib": [("imaplib", "IMAP4_stream", (f"touch {canary}",)), ("imaplib", "IMAP4", ("127.0.0.1", port))],
        "telnetlib": [("telnetlib", "Telnet", ("127.0.0.1", port)), ("nntplib", "NNTP", ("127.0.0.1", port))],
        "xmlrpc": [
            ("xmlrpc.client", "ServerProxy", (url,)),
            ("wsgiref.simple_server", "make_server", ("127.0.0.1", 0, None)),
        ],
        "nturl2path": [("nturl2path", "url2pathname", ("///C|/x",)), ("ntpath", "os.system", ("x",))],
    }


def state(canary: str) -> Rows:
    """Ways to change or to look into the process that reads."""
    return {
        "sys": [
            ("sys", "exit", (0,)),
            ("sys", "setrecursionlimit", (10,)),
            ("sys", "settrace", (None,)),
            ("sys", "addaudithook", (None,)),
            ("sys", "modules", ()),
            ("sys", "path.append", (canary,)),
            ("sys", "_getframe", ()),
            ("sys", "stdout.write", (canary,)),
        ],
        "os.exit": [("os", "_exit", (0,)), ("os", "abort", ()), ("os", "chdir", ("/",)), ("os", "environ.copy", ())],
        "signal": [
            ("signal", "alarm", (1,)),
            ("signal", "signal", (14, None)),
            ("signal", "raise_signal", (10,)),
            ("_signal", "alarm", (1,)),
        ],
        "faulthandler": [("faulthandler", "_sigsegv", ()), ("faulthandler", "dump_traceback", ())],
        "threading": [
            ("threading", "Thread", ()),
            ("threading", "Timer", (0, None)),
            ("_thread", "start_new_thread", (None, ())),
        ],
        "gc": [("gc", "disable", ()), ("gc", "get_objects", ())],
        "weakref": [("weakref", "finalize", ("x", None)), ("atexit", "register", (None,)), ("sched", "scheduler", ())],
        "resource": [
            ("resource", "setrlimit", (7, (0, 0))),
            ("locale", "setlocale", (0, "C")),
            ("time", "sleep", (60,)),
        ],
        "warnings": [("warnings", "warn", ("x",)), ("traceback", "print_stack", ()), ("inspect", "stack", ())],
        "copyreg": [
            ("copyreg", "add_extension", ("os", "system", 1)),
            ("copyreg", "_reconstructor", (None, None, None)),
            ("copyreg", "__newobj__", (None,)),
            ("copyreg", "pickle", (None, None)),
            ("copy_reg", "_reconstructor", (None, None, None)),
        ],
    }


def loaders(canary: str) -> Rows:
    """Ways to load again, without any guard."""
    inner = b"cos\nsystem\n(S'touch " + canary.encode() + b"'\ntR."
    return {
        "pickle": [(m, "loads", (inner,)) for m in ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "pickle5")],
        "unpicklers": [
            ("pickle", "Unpickler", (None,)),
            ("_pickle", "Unpickler", (None,)),
            ("pickle", "_loads", (inner,)),
            ("pickle", "load", (None,)),
        ],
        "pandas and yaml": [
            ("pandas", "read_pickle", (canary,)),
            ("pandas.io.pickle", "read_pickle", (canary,)),
            ("yaml", "unsafe_load", ("x",)),
        ],
        "joblib": [
            ("joblib", "load", (canary,)),
            ("joblib", "Memory", (canary,)),
            ("sklearn.externals.joblib", "load", (canary,)),
        ],
        "torch": [
            ("torch", "load", (canary,)),
            ("torch", "save", ([], canary)),
            ("torch", "compile", (None,)),
            ("torch", "from_file", (canary, True, 8)),
            ("torch.serialization", "load", (canary,)),
            ("torch.serialization", "add_safe_globals", ([],)),
            ("torch.jit", "load", (canary,)),
            ("torch.jit", "script", (None,)),
            ("torch.jit.unsupported_tensor_ops", "execWrapper", ("x", {}, {})),
            ("torch.hub", "load", ("owner/name", "model")),
            ("torch.hub", "load_state_dict_from_url", ("file:///" + canary,)),
            ("torch.package", "PackageImporter", (canary,)),
            ("torch.distributed.rpc.internal", "_run_function", (None,)),
        ],
        "torch internals": [
            ("torch.utils._config_module", "ConfigModule.load_config", (None, inner)),
            ("torch.utils._config_module", "load_config", (inner,)),
            ("torch._dynamo.guards", "GuardBuilder.get", (None, "x")),
            ("torch._dynamo.utils", "run_node", (None, None, (), {}, None)),
            ("torch._inductor.codecache", "compile_file", ((canary,), canary, [])),
            ("torch.fx.graph", "_PyTreeCodeGen", ()),
            ("torch.fx.graph_module", "_forward_from_src", ("x", {}, {})),
            ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression", (None, "1", [])),
            ("torch.utils.cpp_extension", "load_inline", ("x", "")),
            ("torch.utils.bottleneck.__main__", "run_cprofile", ("x", {})),
            ("torch.utils.collect_env", "run", (f"touch {canary}",)),
            ("torch.utils.data.datapipes.utils.decoder", "basichandlers", ("pickle", inner)),
            ("torch.multiprocessing.reductions", "rebuild_storage_filename", (None, "", "", 0)),
            ("torch._utils", "_rebuild_device_tensor_from_numpy", (None, None, "cpu", False)),
            ("torch._utils", "_import_dotted_name", ("os.system",)),
            ("torch._tensor", "_rebuild_from_type_v2", (None, None, (), {})),
            ("torch.nn.parameter", "Parameter", ()),
            ("torch.storage", "_share_memory_map", ()),
        ],
        "numpy": [
            ("numpy", "load", (canary,)),
            ("numpy", "memmap", (canary, "uint8", "w+")),
            ("numpy", "fromfile", (canary,)),
            ("numpy", "save", (canary, [])),
            ("numpy", "frompyfunc", (None, 1, 1)),
            ("numpy", "vectorize", (None,)),
            ("numpy.f2py", "compile", ("x",)),
            ("numpy.f2py.crackfortran", "myeval", ("1",)),
            ("numpy.f2py.crackfortran", "getlincoef", ("1", [])),
            ("numpy.f2py.diagnose", "run_command", (f"touch {canary}",)),
            ("numpy.testing", "measure", ("1",)),
            ("numpy.testing._private.utils", "runstring", ("1", {})),
            ("numpy.distutils.exec_command", "exec_command", (f"touch {canary}",)),
            ("numpy.core._internal", "_ctypes", (None,)),
            ("numpy.lib.npyio", "NpzFile", (None,)),
        ],
        "upstream's own": [
            ("dnnlib.util", "get_obj_by_name", ("os.system",)),
            ("dnnlib.util", "call_func_by_name", ()),
            ("dnnlib.util", "open_url", ("file:///" + canary,)),
            ("torch_utils.persistence", "_src_to_module", ("1/0",)),
            ("torch_utils.persistence", "import_hook", (None,)),
            ("torch_utils.custom_ops", "get_plugin", ("x", [])),
            ("legacy", "load_network_pkl", (canary,)),
            ("models.psp", "pSp", ()),
            ("__main__", "Namespace", ()),
        ],
    }
