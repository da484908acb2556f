"""Every fault, each real: how it is made and healed. The imports have the order of the table."""

from tests.chaos.catalogue import FAULTS as FAULTS

# isort: off
from tests.chaos.faults import deaths as deaths
from tests.chaos.faults import links as links
from tests.chaos.faults import brokers as brokers
from tests.chaos.faults import cells as cells
from tests.chaos.faults import stores as stores
from tests.chaos.faults import edge_disks as edge_disks
from tests.chaos.faults import outboxes as outboxes
from tests.chaos.faults import identities as identities
from tests.chaos.faults import neighbours as neighbours
from tests.chaos.faults import loads as loads
