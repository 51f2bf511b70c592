"""The former place of `engine.job_fields`."""

from engine.job_fields import PRESETS as PRESETS
from engine.job_fields import Hyperparameters as Hyperparameters
from engine.job_fields import JobSettings as JobSettings
