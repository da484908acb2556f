"""What makes a bundle a Secret: a kustomization beside its files, for `kubectl apply -k`."""

from pathlib import Path

from identity.authority import BROKER, FOR_ALL, PROCESSOR, write_whole

FILE = "kustomization.yaml"
_HALF = {BROKER: "cloud", PROCESSOR: "cloud"}
_NAMESPACE = {"cloud": "facebridge-cloud", "edge": "facebridge"}
_TEXT = """\
# Made by ./just enroll {name} --format k8s. The Secret's name carries the hash of what is in it:
# another certificate is another Secret, and the pods that use it start anew by themselves.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {namespace}
secretGenerator:
  - name: {secret}
    files: [ca.crt, tls.crt, tls.key]
"""


def half(name: str) -> str:
    """Which half of the manifests `name` belongs to: `edge` or `cloud`."""
    return _HALF.get(name, "edge")


def write(name: str, folder: Path) -> None:
    """Write the kustomization of the bundle in `folder`.

    The Secret of an edge is called `edge` in every cluster, for a device is one edge.
    """
    is_edge = half(name) == "edge"
    text = _TEXT.format(
        name=name,
        namespace=_NAMESPACE[half(name)],
        secret="edge" if is_edge else name,
    )
    if is_edge:
        text += f'    literals: ["EDGE={name}"]\n'
    write_whole(folder / FILE, text.encode(), mode=FOR_ALL)
