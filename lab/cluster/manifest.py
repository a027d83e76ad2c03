"""An arrangement for the engine of a cluster: a Compose file, or objects for Kubernetes.

A container is a program of the arrangement, with the arguments that the lab gives to the program on
one machine (`program_argv`), but with names of containers in place of 127.0.0.1. The bus is a
stream on three nats-servers, and `event-bus` is the lab's HTTP interface to it. The engine places,
supervises and restarts; the lab writes the file and starts nothing.

The token of the faults comes from a secret of the engine and is never in a manifest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, program_argv, with_engine
from lab.domain.services import BUS, by_hand_port

IMAGE = "sync-async-lab"
NATS_IMAGE = "nats:2.12-alpine"
NODES = ("nats-0", "nats-1", "nats-2")
STREAM = "lab-events"
DATA = "/data"
TOKEN = "lab-token"
MANIFESTS = ("async-bus", "sync-chain", "request-reply")
_CLIENT_PORT, _ROUTE_PORT = 4222, 6222

Address = Callable[[str], str]
"""A container's name, as others reach it, by the name that it has here."""


@dataclass(frozen=True)
class Container:
    """`command`: the whole command. `ports`: the first is the one whose health is probed. `data`:
    whether it keeps files under DATA."""

    name: str
    image: str
    command: tuple[str, ...]
    ports: tuple[int, ...]
    data: bool

    @property
    def is_nats(self) -> bool:
        return self.name in NODES


def containers(
    arrangement: str, image: str = IMAGE, address: Address = lambda name: name
) -> list[Container]:
    """The containers of an arrangement: the nats-servers first, then a container a program."""
    nodes = [f"{address(node)}:{_CLIENT_PORT}" for node in NODES]
    options = {"bus": f"nats://{','.join(nodes)}", "replicas": len(NODES)}
    built = with_engine(ARRANGEMENTS[arrangement], options)
    ports = {name: by_hand_port(arrangement, name) for name in built.programs}
    urls = {name: f"http://{address(name)}:{port}" for name, port in ports.items()}
    servers = [_nats_server(node, address) for node in NODES] if built.has_bus else []
    programs = []
    for name, module in built.programs.items():
        argv = program_argv(name, built, options, urls, Path(DATA), STREAM)
        hosts = dict.fromkeys((name, address(name)))
        own = ["--port", str(ports[name]), "--host", "0.0.0.0"]
        own += [part for host in hosts for part in ("--allow-host", host)]
        own += ["--keep-stream"] if name == BUS else []
        command = ("python", "-m", module, *own, *argv)
        programs.append(Container(name, image, command, (ports[name],), "--data" in argv))
    return servers + programs


def _nats_server(node: str, address: Address) -> Container:
    routes = ",".join(f"nats://{address(name)}:{_ROUTE_PORT}" for name in NODES)
    command = (
        *("nats-server", "--config", "/etc/nats/lab.conf", "--name", node),
        *("--port", str(_CLIENT_PORT), "--http_port", "8222"),
        *("--cluster_name", "lab", "--cluster", f"nats://0.0.0.0:{_ROUTE_PORT}"),
        *("--routes", routes),
    )
    return Container(node, NATS_IMAGE, command, (8222, _CLIENT_PORT, _ROUTE_PORT), data=True)


NATS_CONFIGURATION = f"""\
# An event is on disk before it is acknowledged. The server's default is to sync every two minutes.
jetstream {{
  store_dir: {DATA}
  sync_interval: always
}}
# A host without power closes no connection. By default a server waits for it for ten seconds at
# each write, and the other hosts with it.
write_deadline: "3s"
ping_interval: "1s"
ping_max: 3
"""


def _probe(container: Container) -> list[str]:
    port = container.ports[0]
    if container.is_nats:
        return ["wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/healthz"]
    get = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/health')"
    return ["python", "-c", get]


# ── Compose


def to_compose(arrangement: str, image: str = IMAGE) -> dict[str, Any]:
    """The Compose file (compose-spec.io) as a document."""
    parts = containers(arrangement, image)
    document: dict[str, Any] = {
        "name": f"lab-{arrangement}",
        "services": {part.name: _compose_service(part) for part in parts},
        "secrets": {TOKEN: {"environment": "LAB_TOKEN"}},
        "volumes": {part.name: {} for part in parts if part.data},
    }
    if any(part.is_nats for part in parts):
        # Compose replaces variables in it; there are none.
        document["configs"] = {"nats": {"content": NATS_CONFIGURATION}}
    return document


def _compose_service(container: Container) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": container.image,
        "command": list(container.command),
        "restart": "unless-stopped",
        "healthcheck": {"test": ["CMD", *_probe(container)], "interval": "5s", "retries": 6},
    }
    if container.data:
        service["volumes"] = [f"{container.name}:{DATA}"]
    if container.is_nats:
        return service | {"configs": [{"source": "nats", "target": "/etc/nats/lab.conf"}]}
    return service | {
        "init": True,
        "ports": [f"127.0.0.1:{port}:{port}" for port in container.ports],
        "environment": {"LAB_TOKEN_FILE": f"/run/secrets/{TOKEN}"},
        "secrets": [TOKEN],
    }


# ── Kubernetes


def to_kubernetes(arrangement: str, image: str = IMAGE) -> dict[str, Any]:
    """A `List` of objects: for each container a StatefulSet of one replica, and a Service.

    A StatefulSet never runs two pods with one volume, which a Deployment does while it updates.
    """
    parts = containers(arrangement, image)
    objects = [made for part in parts for made in (_k8s_service(part), _stateful_set(part))]
    if any(part.is_nats for part in parts):
        data = {"lab.conf": NATS_CONFIGURATION}
        objects.append(_k8s("v1", "ConfigMap", "nats") | {"data": data})
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def _k8s(version: str, kind: str, name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "sync-async-lab", "app.kubernetes.io/name": name}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
    }


def _k8s_service(container: Container) -> dict[str, Any]:
    ports = [{"name": f"p{port}", "port": port} for port in container.ports]
    selector = {"app.kubernetes.io/name": container.name}
    # Headless, and also before it is ready: the nodes of NATS find each other to become ready.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True} if container.is_nats else {}
    return _k8s("v1", "Service", container.name) | {
        "spec": spec | {"selector": selector, "ports": ports}
    }


def _stateful_set(container: Container) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": container.name}
    mounts = [{"name": "data", "mountPath": DATA}] if container.data else []
    pod: dict[str, Any] = {"securityContext": {"fsGroup": 1000}}
    runs: dict[str, Any] = {
        "name": container.name,
        "image": container.image,
        "command": list(container.command),
        "ports": [{"containerPort": port} for port in container.ports],
        "readinessProbe": {"exec": {"command": _probe(container)}, "timeoutSeconds": 5},
    }
    if container.is_nats:
        pod["volumes"] = [{"name": "config", "configMap": {"name": "nats"}}]
        mounts.append({"name": "config", "mountPath": "/etc/nats"})
    else:
        token = {"secretKeyRef": {"name": TOKEN, "key": "token"}}
        runs["env"] = [{"name": "LAB_TOKEN", "valueFrom": token}]
    spec: dict[str, Any] = {
        "serviceName": container.name,
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": pod | {"containers": [runs | {"volumeMounts": mounts}]},
        },
    }
    if container.data:
        claim = {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        spec["volumeClaimTemplates"] = [claim]
    return _k8s("apps/v1", "StatefulSet", container.name) | {"spec": spec}


def header(arrangement: str, kubernetes: bool, names: Sequence[str]) -> str:
    """The comment at the top of a manifest: how to start it, and what is needed first."""
    start = (
        f"kubectl create secret generic {TOKEN} --from-literal=token=$(openssl rand -hex 16)\n"
        f"#   lab manifest {arrangement} --k8s | kubectl apply -f -\n"
        f"#   kubectl port-forward service/{names[-1]} {by_hand_port(arrangement, names[-1])}"
        if kubernetes
        else f"lab manifest {arrangement} --compose > compose.yaml\n"
        "#   LAB_TOKEN=$(openssl rand -hex 16) docker compose up"
    )
    return (
        f"# The arrangement {arrangement}, written by `lab manifest`: {', '.join(names)}.\n"
        f"# The image {IMAGE} is made from the lab's Dockerfile: docker build -t {IMAGE} .\n"
        f"#   {start}\n"
    )
