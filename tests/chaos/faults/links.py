"""The link between edge and cloud."""

from tests.chaos.catalogue import fault
from tests.chaos.trial import Load, Trial


@fault("link cut for 2 minutes")
def cut(trial: Trial) -> None:
    trial.start()
    trial.link.cut()
    trial.wait(120, brief=15)
    trial.link.heal()
    trial.heal()


@fault("link flaps every second")
def flap(trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(30, brief=10)):
        trial.link.cut()
        trial.wait(0.2)
        trial.link.heal()
        trial.wait(0.8)
    trial.heal()


@fault("link is a black hole")
def swallow(trial: Trial) -> None:
    trial.start()
    trial.link.hole = True
    trial.wait(60, brief=25)
    trial.link.heal()
    trial.heal()


@fault("link of 128 kbit/s", Load(rate=0.5, sizes=(5_000, 30_000)))
def slow(trial: Trial) -> None:
    trial.link.bytes_per_s = 16_000
    trial.start()
    trial.wait(60, brief=15)
    trial.finish()
    few = trial.outcome.captured / 10
    trial.expect(trial.outcome.absorbed <= few, "a slow link was choked with copies")


@fault("link of 300 ms each way")
def stretch(trial: Trial) -> None:
    trial.link.delay_s = 0.3
    trial.start()
    trial.wait(30, brief=8)
    trial.heal()


@fault("link cut in the middle of a packet")
def tear(trial: Trial) -> None:
    trial.start()
    for _ in range(trial.count(20, brief=6)):
        torn = trial.link.tear(trial.rng.randint(1, 100_000))
        trial.until(torn.is_set, 20, otherwise="no packet to cut")
        trial.wait(0.2)
        trial.link.heal()
        trial.moment(0.5, 2)
    trial.heal()
