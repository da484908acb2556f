"""State of the brokers that is lost."""

import shutil

from identity.authority import PROCESSOR
from tests.chaos.catalogue import fault
from tests.chaos.trial import Trial
from tests.support.peer import Peer


@fault("cloud broker replaced by an empty one")
def replace_cloud_broker(trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(3, brief=2)):
        trial.stack.hang("processor")  # so that the broker has something to lose
        trial.wait(2)
        replace(trial, "cloud-broker")
        trial.stack.wake("processor")
        trial.wait(3)
    trial.heal()


@fault("edge broker replaced by an empty one")
def replace_edge_broker(trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(3, brief=2)):
        trial.link.cut()
        trial.wait(2)
        replace(trial, "edge-broker")
        trial.link.heal()
        trial.wait(3)
    trial.heal()


def replace(trial: Trial, part: str) -> None:
    trial.stack.stop(part)
    shutil.rmtree(trial.stack.folder / part)
    trial.stack.start(part)


@fault("processor's session deleted")
def delete_session(trial: Trial) -> None:
    trial.start()
    certs = trial.stack.bundle(PROCESSOR)
    for _ in range(trial.count(4, brief=2)):
        trial.gateway.mode = "timeout"
        trial.wait(2)
        with Peer(trial.stack.ports["cloud-processors"], certs, name="processor"):
            pass  # whoever has its name has its session, and this one leaves none
        trial.gateway.mode = "well"
        trial.wait(3)
    trial.heal()


@fault("processor away from the beginning")
def no_processor(trial: Trial) -> None:
    trial.start(without="processor")
    trial.wait(30, brief=8)
    trial.stack.start("processor")
    trial.heal()
