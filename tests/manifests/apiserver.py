"""As much of a Kubernetes API, in memory, as kubectl needs to apply, diff, wait, print and delete.

What is applied replaces what was there: fields have no owners and nothing is checked, for the
manifests are held against the schemas of a real Kubernetes elsewhere. The pods of a Deployment are
there at once, and get ready when somebody watches.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Thing = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

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
TERM = re.compile(r"(!?)([^ !=(),]+)(?:=([^,]*))?(?:,|$)")


class RefusedError(Exception):
    """A Status: its HTTP code, reason and message."""


class ApiServer(ThreadingHTTPServer):
    """What is there, and how often it has changed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.things: dict[Key, Thing] = {}
        self.history: list[Thing] = []  # the events of watches, each with its plural
        self.changed = Condition()
        self.ending = False
        self.forbidden: set[str] = set()  # kinds, in plural, that may not be written
        self.stuck: set[str] = set()  # Deployments that never get ready

    @contextmanager
    def running(self) -> Iterator[Thing]:
        """Serve meanwhile. Gives a kubeconfig with the context `test`, not the current one."""
        thread = Thread(target=self.serve_forever, args=(0.05,))
        thread.start()
        cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "test", "context": {"cluster": "test"}}
        config = {"apiVersion": "v1", "kind": "Config"}
        try:
            yield {**config, "clusters": [cluster], "contexts": [context]}
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

    def write(self, key: Key, body: Thing, *, dry: bool) -> Thing:
        """Put one thing in place of what was there; a dry run only tells what would come out."""
        plural, namespace, name = key
        if namespace and ("namespaces", "", namespace) not in self.things:
            raise RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')
        if plural in self.forbidden:
            raise RefusedError(403, "Forbidden", f'{plural} "{name}" is forbidden: not to "test"')
        old = self.things.get(key, {"metadata": {"uid": f"{plural}-{name}", "generation": 0}})
        kept = ("uid", "generation", "resourceVersion")
        own = {field: old["metadata"].get(field) for field in kept}
        place = {"namespace": namespace} if namespace else {}
        new = {**body, "metadata": {**body["metadata"], **own, **place}}
        if "status" in old:
            new["status"] = old["status"]
        if new == old or dry:
            return new
        new["metadata"]["generation"] += 1
        self._put(key, new)
        if plural == "deployments":
            self._roll(key, ready=False)
        return self.things[key]

    def delete(self, key: Key) -> Thing:
        """Take it away, with what is in it or of it."""
        thing = self.things[key]
        plural, namespace, name = key
        for other in list(self.things):
            pod = other[:2] == ("pods", namespace) and other[2].startswith(f"{name}-")
            inside = plural == "namespaces" and other[1] == name
            if other == key or inside or (plural == "deployments" and pod):
                self._put(other, self.things[other], event="DELETED")
        return thing

    def events(self, plural: str, namespace: str | None, query: dict[str, str]) -> Iterator[Thing]:
        """What changes from that version on, until this server ends."""
        seen = int(query["resourceVersion"])
        for key, thing in list(self.things.items()):
            if key[0] == "deployments" and _chosen(thing["metadata"], namespace, query):
                self._roll(key, ready=True)
        while not self.ending:
            with self.changed:
                while len(self.history) == seen and not self.ending:
                    self.changed.wait()
                news = self.history[seen:]
                seen = len(self.history)
            for event in news:
                of_kind = event["plural"] == plural
                if of_kind and _chosen(event["object"]["metadata"], namespace, query):
                    yield event

    def _put(self, key: Key, thing: Thing, event: str = "MODIFIED") -> None:
        with self.changed:
            self.things[key] = thing
            thing["metadata"]["resourceVersion"] = str(len(self.history) + 1)
            self.history.append({"type": event, "plural": key[0], "object": thing})
            if event == "DELETED":
                del self.things[key]
            self.changed.notify_all()

    def _roll(self, key: Key, *, ready: bool) -> None:
        """Play the controller of Deployments, each of one pod."""
        _, namespace, name = key
        thing = self.things[key]
        up = ready and name not in self.stuck
        counts = ("replicas", "updatedReplicas", "availableReplicas" if up else "unavailable")
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        status: Thing = dict.fromkeys(counts, 1)
        status["observedGeneration"] = thing["metadata"]["generation"]
        status["conditions"] = [late] if ready and not up else []
        if thing.get("status") == status:
            return
        self._put(key, {**thing, "metadata": dict(thing["metadata"]), "status": status})
        template = thing["spec"]["template"]
        metadata = {**template["metadata"], "name": f"{name}-0", "namespace": namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self._put(("pods", namespace, f"{name}-0"), pod)


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        code = 200
        try:
            answer = _discovery().get(url.path)
            if answer is None:
                answer = self._answer(url.path, dict(parse_qsl(url.query)), body)
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
        server = self.server
        if path == "/openapi/v2":
            return []  # the empty document, in protobuf: kubectl leaves the checking to the server
        plural, namespace, name = _parsed(path, query)
        key = (plural, namespace or "", name or body.get("metadata", {}).get("name", ""))
        applies = self.headers["Content-Type"] == "application/apply-patch+yaml"
        if name and key not in server.things and not applies:
            raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
        if applies or self.command == "POST":
            return server.write(key, body, dry="dryRun" in query)
        if self.command == "DELETE":
            return server.delete(key)
        if path.endswith("/log"):
            return [f"{name} says hello"]
        if name:
            return server.things[key]
        return self._list(plural, namespace, query)

    def _list(self, plural: str, namespace: str | None, query: dict[str, str]) -> Any:
        server = self.server
        if "watch" in query:
            return server.events(plural, namespace, query)
        there = [thing for (kind, *_), thing in server.things.items() if kind == plural]
        (kind,) = (words for words in map(str.split, KINDS.splitlines()) if plural in words)
        return {
            "apiVersion": kind[0],
            "kind": f"{kind[2]}List",
            "metadata": {"resourceVersion": str(len(server.history))},
            "items": [thing for thing in there if _chosen(thing["metadata"], namespace, query)],
        }

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _parsed(path: str, query: dict[str, str]) -> tuple[str, str | None, str | None]:
    """Plural, namespace and name of what is asked for."""
    match = PATH.fullmatch(path)
    if not match or "sendInitialEvents" in query:
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")
    namespace, plural, name = match.groups()
    if plural:
        return plural, namespace, name
    return "namespaces", None, namespace  # /api/v1/namespaces/NAME


def _discovery() -> dict[str, Thing]:
    """What the server is, and which kinds it knows."""
    known: dict[str, Thing] = {
        "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
    }
    for whole, plural, kind, short in map(str.split, KINDS.strip().splitlines()):
        group, _, version = whole.rpartition("/")
        path = f"/apis/{whole}" if group else f"/api/{whole}"
        if path not in known:
            known[path] = {"kind": "APIResourceList", "groupVersion": whole, "resources": []}
            entry = {"name": group, "versions": [{"groupVersion": whole, "version": version}]}
            known["/apis"]["groups"] += [entry] if group else []
        resource = {
            "name": plural,
            "kind": kind,
            "singularName": kind.lower(),
            "shortNames": [short],
            "namespaced": kind != "Namespace",
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        }
        known[path]["resources"].append(resource)
    return known


def _chosen(metadata: Thing, namespace: str | None, query: dict[str, str]) -> bool:
    """Whether the namespace and the selectors mean it."""
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    if namespace not in (None, metadata.get("namespace")) or name not in ("", metadata["name"]):
        return False
    labels = metadata.get("labels", {})
    for absent, key, value in TERM.findall(query.get("labelSelector", "")):
        if (key in labels) is bool(absent):
            return False
        if value and labels[key] != value:
            return False
    return True
