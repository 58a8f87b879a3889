"""Where dropout goes: sites, plans, and the rates of what is there already."""

from __future__ import annotations

from droplab.placement._applied import Applied, Edit
from droplab.placement._branches import branches
from droplab.placement._clear import clear
from droplab.placement._entries import Entry
from droplab.placement._guard import guards
from droplab.placement._hook import CALLS_A_STEP, Bank
from droplab.placement._later import later_key_in_graphs
from droplab.placement._layers import KINDS, Kind
from droplab.placement._own import OwnDropout
from droplab.placement._plan import Plan, load_plan, plan
from droplab.placement._rates import Rates, disabled, rates, set_rate
from droplab.placement._select import Ramp
from droplab.placement._sites import Site, Sites, sites
from droplab.placement._source_patch import patch_file, source_patch
from droplab.placement._table import widened
from droplab.placement._toml import read_plan
from droplab.placement._trace import as_call
from droplab.placement._untouched import put_back
from droplab.placement._walk import inner, is_branch

__all__ = [
    "CALLS_A_STEP",
    "KINDS",
    "Applied",
    "Bank",
    "Edit",
    "Entry",
    "Kind",
    "OwnDropout",
    "Plan",
    "Ramp",
    "Rates",
    "Site",
    "Sites",
    "as_call",
    "branches",
    "clear",
    "disabled",
    "guards",
    "inner",
    "is_branch",
    "later_key_in_graphs",
    "load_plan",
    "patch_file",
    "plan",
    "put_back",
    "rates",
    "read_plan",
    "set_rate",
    "sites",
    "source_patch",
    "widened",
]
