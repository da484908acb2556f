"""The figures of the README are those of the chaos table and of the manifests."""

import yaml

from tests.docs.page import ROOT, Page

README = (ROOT / "README.md").read_text()
POWER_CUT = "power cut on the edge"  # the README says apart from the others what that takes
HEAD, *FAULTS = [
    [cell.text for cell in row] for row in Page(ROOT / "docs" / "chaos.md").rows() if len(row) == 13
]


def peaks(part: str, *, after_power_cut: bool) -> list[int]:
    """The peaks of a part's memory, in MB."""
    column = HEAD.index(f"{part} (MB)")
    return [int(row[column]) for row in FAULTS if (row[0] == POWER_CUT) is after_power_cut]


def test_the_faults_are_counted() -> None:
    assert f"{len(FAULTS)} kinds of fault" in README


def test_memory_is_that_of_the_table() -> None:
    parts = ("edge-broker", "cloud-broker")
    brokers = [peak for part in parts for peak in peaks(part, after_power_cut=False)]
    cut = [peak for part in parts for peak in peaks(part, after_power_cut=True)]
    processor = peaks("processor", after_power_cut=False)
    assert f"| edge broker, cloud broker | {min(brokers)} to {max(brokers)} each |" in README
    assert f"each broker held up to {max(cut)} MB" in README
    assert f"| processor | {min(processor)} to {max(processor)} |" in README
    (detector,) = [row[-1].split("detector ")[1] for row in FAULTS if "detector " in row[-1]]
    assert f"| detector | {detector.removesuffix(' MB')} |" in README


def test_cpu_is_what_the_manifests_reserve() -> None:
    reserved = {}
    for file in [*ROOT.glob("k8s/edge/*.yaml"), *ROOT.glob("k8s/cloud/*.yaml")]:
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest and manifest["kind"] == "Deployment":
                for container in manifest["spec"]["template"]["spec"]["containers"]:
                    reserved[container["name"]] = container["resources"]["requests"]["cpu"]
    rows = {row[0].text: row[2].text for row in Page(ROOT / "README.md").rows() if len(row) == 3}
    brokers = f"{reserved['edge-broker']}, {reserved['cloud-broker']}"
    assert rows["edge broker, cloud broker"] == brokers
    for part in ("logger", "processor", "detector"):
        assert rows[part] == reserved[part]
