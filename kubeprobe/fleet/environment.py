"""Environment variables that load code into a program: neither a kubeconfig nor a template may set them."""

_NAMES = frozenset(
    {"BASH_ENV", "CLASSPATH", "DOTNET_STARTUP_HOOKS", "GCONV_PATH", "GLIBC_TUNABLES", "JAVA_TOOL_OPTIONS"}
    | {"JDK_JAVA_OPTIONS", "LOCPATH", "LUA_INIT", "NODE_OPTIONS", "NODE_PATH", "OPENSSL_CONF", "OPENSSL_ENGINES"}
    | {"PERLLIB", "PHPRC", "PHP_INI_SCAN_DIR", "PROMPT_COMMAND", "RUBYLIB", "RUBYOPT", "SHELLOPTS", "_JAVA_OPTIONS"}
)
_PREFIXES = ("LD_", "DYLD_", "PYTHON", "PERL5", "BASH_FUNC_", "CORECLR_", "COR_")
_HARMLESS = frozenset(
    {"PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUNBUFFERED"}
    | {"PYTHONUTF8"}
)


def is_loader_variable(name: str) -> bool:
    """Whether a variable makes a program, its interpreter or its shell load other code.

    Not PATH and ENV, which kubeconfigs and templates also use for what is harmless: callers decide.
    """
    return (name in _NAMES or name.startswith(_PREFIXES)) and name not in _HARMLESS
