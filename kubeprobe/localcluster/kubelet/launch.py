"""From a container's spec to the program to start: argv, environment, directory."""

from pathlib import Path

from kubeprobe.localcluster.images import HOST_PATH, Image
from kubeprobe.localcluster.kubelet.environment import expand, path_replacer, resolve_environment
from kubeprobe.localcluster.kubelet.host import Host
from kubeprobe.localcluster.kubelet.process import MARK, Program
from kubeprobe.localcluster.kubelet.volumes import mounted_paths
from kubeprobe.localcluster.objects import Object


class Launch:
    """Prepares each start of one container."""

    def __init__(self, host: Host, pod: Object, spec: Object) -> None:
        self._host = host
        self._pod = pod
        self._spec = spec
        self._directory: Path = host.pod_directory(pod) / spec["name"]
        self.message_file: Path = self._directory / "termination-log"
        self.volumes: dict[str, Path] = {}
        self.token = ""
        self.starts = 0

    def program(self, image: Image) -> Program:
        """The program, with an empty message file. Raises `ConfigError` for a missing secret, config map or key."""
        self.starts += 1
        self._directory.mkdir(parents=True, exist_ok=True)
        self.message_file.write_bytes(b"")
        paths = mounted_paths(self._spec, self.volumes)
        real_path = path_replacer({**paths, self._spec["terminationMessagePath"]: str(self.message_file)})
        pod = self._host.find(self._pod) or self._pod
        base = self._base_environment(image)
        env = resolve_environment(self._host.registry.store, pod, self._spec, base)
        # The base variables hold real paths already, which may lie below a mount path of the container.
        env = {name: value if base.get(name) == value else real_path(value) for name, value in env.items()}
        command = (*(self._spec.get("command") or image.entrypoint), *(self._spec.get("args") or ()))
        argv = tuple(expand(real_path(part), env) for part in command)
        return Program(argv, env, self._working_directory(real_path(self._spec.get("workingDir") or ""), image))

    def _base_environment(self, image: Image) -> dict[str, str]:
        metadata = self._pod["metadata"]
        kubeconfig = self._directory / "kubeconfig"
        self._host.write_kubeconfig(kubeconfig, metadata["namespace"], self.token)
        env = {
            "PATH": ":".join((str(self._host.launchers), *image.path, HOST_PATH)),
            "HOME": str(self._directory),
            "LANG": "C.UTF-8",
            "HOSTNAME": metadata["name"],
            "KUBECONFIG": str(kubeconfig),
            MARK: f"{self._host.instance}/{metadata['uid']}/{self._spec['name']}/{self.starts}",
        }
        if image.pythonpath:
            env["PYTHONPATH"] = ":".join(image.pythonpath)
        return {**env, **image.env}

    def _working_directory(self, wanted: str, image: Image) -> Path:
        for directory in (Path(wanted), Path(image.working_dir or "")):
            if directory.is_absolute() and directory.is_dir():
                return directory
        return self._directory
