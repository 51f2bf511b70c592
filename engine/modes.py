"""The jobs that a host may ask for, by their mode."""

from __future__ import annotations

from engine.dream.run import run_kept_dream
from engine.job import run_kept_job
from engine.job_fields import DREAM, JobSettings
from engine.mesh import Mesh
from engine.reporting import Reporter
from engine.results import JobResult


def run_kept(sketch: Mesh, settings: JobSettings, reporter: Reporter) -> JobResult:
    """Any job, with its checkpoint in the user's cache; a dream has no sketch, and what is sent as one is not looked at."""
    return run_kept_dream(settings, reporter) if settings.mode == DREAM else run_kept_job(sketch, settings, reporter)
