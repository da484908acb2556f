"""A Kubernetes API in memory: as much as kubectl needs to apply, diff, wait, print and delete.

What is written is checked against the schemas of a real Kubernetes, strictly. There is one controller, which makes the
pods of a Deployment and gets them ready once somebody watches. Fields have no owners, so nothing conflicts;
only our own annotations outlive an apply that does not name them.
"""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kubernetes_validate

Thing = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

VERSION = "1.32"
KINDS = """
v1 namespaces Namespace ns
v1 configmaps ConfigMap cm
v1 persistentvolumeclaims PersistentVolumeClaim pvc
v1 pods Pod po
v1 secrets Secret secret
v1 serviceaccounts ServiceAccount sa
v1 services Service svc
apps/v1 deployments Deployment deploy
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler hpa
discovery.k8s.io/v1 endpointslices EndpointSlice endpointslice
networking.k8s.io/v1 networkpolicies NetworkPolicy netpol
policy/v1 poddisruptionbudgets PodDisruptionBudget pdb
"""
PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v\d(?:/namespaces/([^/]+))?(?:/([^/]+))?(?:/([^/]+))?(?:/log)?"
)
TERM = re.compile(r"(!?)([^ !=(),]+)(?:=([^,]*)| in \(([^)]*)\))?(?:,|$)")


class RefusedError(Exception):
    """A Status: its HTTP code, reason and message."""


class ApiServer(ThreadingHTTPServer):
    """What is there, and how it changes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.things: dict[Key, Thing] = {}
        self.history: list[tuple[str, str, Thing]] = []
        self.changed = Condition()
        self.ending = False
        self.forbidden: set[str] = set()  # kinds, in plural, that may not be written
        self.stuck: set[str] = set()  # Deployments that never get ready

    @contextmanager
    def running(self) -> Iterator[Thing]:
        """Serve meanwhile. Gives a kubeconfig with the context `test`, which is not the current one."""
        thread = Thread(target=self.serve_forever, args=(0.05,))
        thread.start()
        cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "test", "context": {"cluster": "test"}}
        try:
            yield {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [context],
            }
        finally:
            self.shutdown()
            with self.changed:
                self.ending = True
                self.changed.notify_all()
            self.server_close()
            thread.join()

    def names(self, plural: str, namespace: str = "") -> set[str]:
        """What there is of one kind."""
        return {name for kind, place, name in self.things if (kind, place) == (plural, namespace)}

    def write(self, key: Key, body: Thing, merge: bool, dry: bool) -> Thing:
        """Create, replace or merge one thing; a dry run only tells what would come out."""
        plural, namespace, name = key
        old = self.things.get(key, {})
        if namespace and ("namespaces", "", namespace) not in self.things:
            raise RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')
        if plural in self.forbidden:
            raise RefusedError(
                403, "Forbidden", f'{plural} "{name}" is forbidden: User "test" cannot write it'
            )
        new: Thing = _merged(old if merge else _noted(old), body)
        new.pop("status", None)
        for field, text in new.pop("stringData", {}).items():
            new.setdefault("data", {})[field] = base64.b64encode(text.encode()).decode()
        try:
            kubernetes_validate.validate(new, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise RefusedError(
                422, "Invalid", f'{plural} "{name}" is invalid: {error.message}'
            ) from error
        first = {
            "uid": f"{plural}-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 0,
        }
        own = {
            field: old.get("metadata", first).get(field) for field in (*first, "resourceVersion")
        }
        new["metadata"] = {
            **new["metadata"],
            "name": name,
            **own,
            **({"namespace": namespace} if namespace else {}),
        }
        new["status"] = old.get("status", {})
        if new != old:
            new["metadata"]["generation"] += any(
                new[part] != old.get(part) for part in new if part != "metadata"
            )
            if not dry:
                self.put(key, new)
                self.roll(key, ready=False)
        return new

    def put(self, key: Key, thing: Thing, event: str = "MODIFIED") -> None:
        """Keep it, or give it up, and tell those who watch."""
        with self.changed:
            self.things[key] = thing
            thing["metadata"]["resourceVersion"] = str(len(self.history) + 1)
            self.history.append((event, key[0], deepcopy(thing)))
            if event == "DELETED":
                del self.things[key]
            self.changed.notify_all()

    def roll(self, key: Key, ready: bool) -> None:
        """Play the controller of Deployments."""
        if key[0] != "deployments":
            return
        thing = deepcopy(self.things[key])
        up = ready and key[2] not in self.stuck
        count = thing["spec"].get("replicas", 1)
        status = dict.fromkeys(
            ("replicas", "updatedReplicas", "availableReplicas" if up else "unavailableReplicas"),
            count,
        )
        late = (
            [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
            if ready > up
            else []
        )
        thing["status"] = {
            **status,
            "observedGeneration": thing["metadata"]["generation"],
            "conditions": late,
        }
        if thing == self.things[key]:
            return
        self.put(key, thing)
        for name in (f"{key[2]}-{number}" for number in range(count)):
            template = thing["spec"]["template"]
            metadata = {
                "name": name,
                "namespace": key[1],
                "uid": name,
                "labels": template["metadata"]["labels"],
            }
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": template["spec"],
            }
            self.put(
                ("pods", key[1], name), {**pod, "status": {"phase": "Running" if up else "Pending"}}
            )

    def delete(self, key: Key) -> Thing:
        """Take it away with what is in it, or of it."""
        thing = self.things[key]
        for other in list(self.things):
            plural, namespace, name = other
            of_it = (
                key[0] == "deployments"
                and (plural, namespace) == ("pods", key[1])
                and name.startswith(f"{key[2]}-")
            )
            if of_it or (key[0] == "namespaces" and namespace == key[2]) or other == key:
                self.put(other, self.things[other], "DELETED")
        return thing

    def events(self, plural: str, namespace: str | None, query: dict[str, str]) -> Iterator[Thing]:
        """What changes from that version on, until this server ends."""
        seen = int(query["resourceVersion"])
        for key, thing in list(self.things.items()):
            if _chosen(thing["metadata"], namespace, query):
                self.roll(key, ready=True)
        while not self.ending:
            with self.changed:
                while len(self.history) == seen and not self.ending:
                    self.changed.wait()
                news, seen = self.history[seen:], len(self.history)
            yield from (
                {"type": event, "object": thing}
                for event, kind, thing in news
                if kind == plural and _chosen(thing["metadata"], namespace, query)
            )


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        code = 200
        try:
            answer = _discovery().get(url.path) or self._answer(
                url.path, dict(parse_qsl(url.query)), body
            )
        except RefusedError as refused:
            code, reason, message = refused.args
            answer = {"apiVersion": "v1", "kind": "Status", "status": "Failure"}
            answer |= {"code": code, "reason": reason, "message": message}
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        for part in [answer] if isinstance(answer, dict) else answer:
            self.wfile.write(json.dumps(part).encode() + b"\n")

    do_POST = do_PATCH = do_DELETE = do_GET

    def _answer(self, path: str, query: dict[str, str], body: Thing) -> Any:
        server, match = self.server, PATH.fullmatch(path)
        if path == "/openapi/v2":
            return []  # the empty document, in protobuf: kubectl leaves the checking to the server
        if not match or "sendInitialEvents" in query:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        namespace, plural, name = match.groups()
        if not plural:  # /api/v1/namespaces/NAME
            namespace, plural, name = None, "namespaces", namespace
        key = (plural, namespace or "", name or body.get("metadata", {}).get("name", ""))
        applies = self.headers["Content-Type"] == "application/apply-patch+yaml"
        if name and key not in server.things and not applies:
            raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
        if self.command in ("POST", "PATCH"):
            return server.write(
                key, body, self.command == "PATCH" and not applies, "dryRun" in query
            )
        if self.command == "DELETE":
            return server.delete(key)
        if path.endswith("/log"):
            return [f"{name} says hello"]
        if name:
            return server.things[key]
        if "watch" in query:
            return server.events(plural, namespace, query)
        there = [thing for (kind, *_), thing in server.things.items() if kind == plural]
        found = [thing for thing in there if _chosen(thing["metadata"], namespace, query)]
        (version, _, kind, _) = next(
            words for words in map(str.split, KINDS.splitlines()) if plural in words
        )
        metadata = {"resourceVersion": str(len(server.history))}
        return {"apiVersion": version, "kind": f"{kind}List", "metadata": metadata, "items": found}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _discovery() -> dict[str, Thing]:
    """What the server is, and which kinds it knows."""
    known: dict[str, Thing] = {
        "/version": {"major": "1", "minor": VERSION[2:], "gitVersion": f"v{VERSION}.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
    }
    for whole, plural, kind, short in map(str.split, KINDS.strip().splitlines()):
        group, _, version = whole.rpartition("/")
        prefix = f"apis/{whole}" if group else f"api/{whole}"
        if f"/{prefix}" not in known:
            known[f"/{prefix}"] = {
                "kind": "APIResourceList",
                "groupVersion": whole,
                "resources": [],
            }
            if group:
                entry = {"name": group, "versions": [{"groupVersion": whole, "version": version}]}
                known["/apis"]["groups"].append(entry)
        resource = {
            "name": plural,
            "kind": kind,
            "singularName": kind.lower(),
            "shortNames": [short],
        }
        verbs = ["create", "delete", "get", "list", "patch", "watch"]
        known[f"/{prefix}"]["resources"].append(
            {**resource, "namespaced": kind != "Namespace", "verbs": verbs}
        )
    return known


def _chosen(metadata: Thing, namespace: str | None, query: dict[str, str]) -> bool:
    """Whether the namespace and the selectors mean it."""
    name, labels = (
        query.get("fieldSelector", "").removeprefix("metadata.name="),
        metadata.get("labels", {}),
    )
    terms = TERM.findall(query.get("labelSelector", ""))
    return (
        namespace in (None, metadata.get("namespace"))
        and name in ("", metadata["name"])
        and all((key in labels) is not bool(no) for no, key, _, _ in terms)
        and all(
            labels[key] in re.split(", *", one or many)
            for _, key, one, many in terms
            if one or many
        )
    )


def _noted(thing: Thing) -> Thing:
    """Of a thing and its pod template, our annotations alone."""
    kept = thing.get("metadata", {}).get("annotations", {})
    own = {key: value for key, value in kept.items() if key.startswith("facebridge/")}
    noted: Thing = {"metadata": {"annotations": own}} if own else {}
    below = _noted(thing["spec"]["template"]) if "template" in thing.get("spec", {}) else {}
    return {**noted, "spec": {"template": below}} if below else noted


def _merged(old: Any, new: Any) -> Any:
    """A merge patch: null takes away."""
    if not isinstance(new, dict):
        return new
    both = dict(old) if isinstance(old, dict) else {}
    both |= {key: _merged(both.get(key), value) for key, value in new.items()}
    return {key: value for key, value in both.items() if value is not None}
