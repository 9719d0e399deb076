"""For modules that move soon."""

from vonenet.report.tables import Estimate as Estimate
