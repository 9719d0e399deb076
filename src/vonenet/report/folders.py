"""For modules that move soon."""

from vonenet.results import LOG as LOG
from vonenet.results import RECIPE as RECIPE
