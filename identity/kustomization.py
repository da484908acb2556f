"""What makes a folder a Secret: a kustomization beside its files, for `kubectl apply -k`."""

from pathlib import Path

from identity import access_rules
from identity.authority import BROKER, PROCESSOR, SERVICES_CRT
from identity.files import FOR_ALL, write_whole

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
    files: [{files}]
"""
_RULES = """\
# Made by ./just enroll. The Secret keeps its name when it changes: brokers that run read it again.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: facebridge-cloud
secretGenerator:
  - name: access-rules
    files: [cloud.acl, crl.pem]
    options: { disableNameSuffixHash: true }
"""


def half(name: str) -> str:
    """Which half of the manifests `name` belongs to: `edge` or `cloud`."""
    return _HALF.get(name, "edge")


def write(name: str, folder: Path) -> None:
    """Write the kustomization of the bundle in `folder`.

    The Secret of an edge is called `edge` in every cluster, for a device is one edge. With the
    cloud broker's goes one of the access rules.
    """
    is_edge = half(name) == "edge"
    files = ["ca.crt", "tls.crt", "tls.key"]
    if name == BROKER:
        files.insert(1, SERVICES_CRT)
    text = _TEXT.format(
        name=name,
        files=", ".join(files),
        namespace=_NAMESPACE[half(name)],
        secret="edge" if is_edge else name,
    )
    if is_edge:
        text += f'    literals: ["EDGE={name}"]\n'
    write_whole(folder / FILE, text.encode(), mode=FOR_ALL)
    if name == BROKER:
        rules = folder.parent / access_rules.FOLDER / FILE
        write_whole(rules, _RULES.encode(), mode=FOR_ALL)
