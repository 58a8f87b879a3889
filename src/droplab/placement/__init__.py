"""Where dropout goes: sites, plans, and the rates of what is there already."""

from __future__ import annotations

from droplab.placement._applied import Applied, Edit
from droplab.placement._clear import clear
from droplab.placement._entries import Entry
from droplab.placement._layers import KINDS, Kind
from droplab.placement._own import OwnDropout
from droplab.placement._plan import Plan, load_plan, plan
from droplab.placement._rates import Rates, disabled, rates, set_rate
from droplab.placement._select import Ramp
from droplab.placement._sites import Site, Sites, sites
from droplab.placement._source_patch import patch_file, source_patch
from droplab.placement._toml import read_plan

__all__ = [
    "KINDS",
    "Applied",
    "Edit",
    "Entry",
    "Kind",
    "OwnDropout",
    "Plan",
    "Ramp",
    "Rates",
    "Site",
    "Sites",
    "clear",
    "disabled",
    "load_plan",
    "patch_file",
    "plan",
    "rates",
    "read_plan",
    "set_rate",
    "sites",
    "source_patch",
]
