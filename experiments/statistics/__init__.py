"""Pure functions on scores: what a comparison of training runs shows, with its uncertainty.

Read `verdict.py` first: every sentence of a report comes from that one function. Here stands what reports read; what no
report reads yet is imported from its module. Importing this package takes a third of a second (scipy.special), so the
rest of the project imports it where it is used; scipy.stats, twice as long, is loaded by the functions that need it.
"""

from experiments.statistics.agreement import Agreement as Agreement
from experiments.statistics.agreement import agreement as agreement
from experiments.statistics.agreement import crossed_error as crossed_error
from experiments.statistics.budget import budget_curve as budget_curve
from experiments.statistics.factors import VarianceShare as VarianceShare
from experiments.statistics.factors import main_effects as main_effects
from experiments.statistics.factors import variance_shares as variance_shares
from experiments.statistics.harness import HarnessShare as HarnessShare
from experiments.statistics.harness import harness_share as harness_share
from experiments.statistics.headlines import headline_of as headline_of
from experiments.statistics.headlines import size_of as size_of
from experiments.statistics.headlines import speed_headline_of as speed_headline_of
from experiments.statistics.intervals import Estimate as Estimate
from experiments.statistics.intervals import mean_interval as mean_interval
from experiments.statistics.ladder import Ladder as Ladder
from experiments.statistics.ladder import ladder as ladder
from experiments.statistics.multiplicity import control_outcome as control_outcome
from experiments.statistics.multiplicity import holm as holm
from experiments.statistics.multiplicity import with_holm as with_holm
from experiments.statistics.outcome import Verdict as Verdict
from experiments.statistics.pairing import score_failures as score_failures
from experiments.statistics.ranks import page_trend as page_trend
from experiments.statistics.speed import SpeedComparison as SpeedComparison
from experiments.statistics.speed import compare_speed as compare_speed
from experiments.statistics.speed import variation as variation
from experiments.statistics.verdict import verdict as verdict
from experiments.statistics.wording import details_of as details_of
