"""threestudio's guidance interface over `engine.guidance`: put this folder into threestudio's custom/ and name the guidance in a config.

    system.guidance_type: "sketchbridge-guidance"
    system.guidance: {model: "/models/stable-diffusion-2-1-base", method: "calibrated", steps: 10000, switch: 0.8}

Text is encoded here, by the prior: of the prompt processor only the words are taken. Any system of threestudio's own takes it
("dreamfusion-system", "magic3d-system", "fantasia3d-system"): it adds up every "loss_" that comes back, times its lambda_sds.
"sketchbridge-system" is the first of them without a prompt processor, so that no second text encoder is loaded:

    system_type: "sketchbridge-system"
    system.prompt: "a photo of a red apple"
"""

from dataclasses import dataclass
from types import SimpleNamespace

import threestudio
from engine.guidance import Guide, load_prior
from threestudio.utils.base import BaseObject


@threestudio.register("sketchbridge-guidance")
class SketchbridgeGuidance(BaseObject):
    """Guidance of the class that threestudio's systems call with what they rendered."""

    @dataclass
    class Config(BaseObject.Config):
        """Those of `engine.guidance.Guide`; scales below 0 stand for the method's own, a blank source or prompt for what follows from
        the prompt processor's."""

        model: str = "embedded"
        method: str = "calibrated"
        prompt: str = ""
        source: str = ""
        steps: int = 10000
        switch: float = 0.8
        scale: float = -1.0
        first_scale: float = -1.0
        t_low: float = 0.02
        t_high: float = 0.98
        t_high_end: float = 0.5
        view_dependent_prompting: bool = True
        seed: int = 0

    cfg: Config

    def configure(self, *_args, **_kwargs):
        self.prior = load_prior(self.cfg.model, self.device)
        self.guide = None
        self.step = 0

    def __call__(self, rgb, prompt_utils, elevation, azimuth, camera_distances=None, rgb_as_latents=False, guidance_eval=False, **_batch):
        """rgb [B, H, W, 3] in 0..1, angles [B] in degrees, azimuth 0 before the front -> what the systems log and add up."""
        if rgb_as_latents:
            raise ValueError("sketchbridge-guidance takes pictures, not latents: render rgb, and leave latent stages out")
        if rgb.dim() != 4 or rgb.shape[3] != 3:
            raise ValueError(f"sketchbridge-guidance takes rgb [B, H, W, 3] in 0..1, got {list(rgb.shape)}: give the colours alone")
        if self.guide is None:
            self.guide = self._guide(self.cfg.prompt or prompt_utils.prompt)
        cameras = SimpleNamespace(azimuth=azimuth, elevation=elevation) if self.cfg.view_dependent_prompting else None
        loss, figures = self.guide.loss(rgb.permute(0, 3, 1, 2), self.step, cameras=cameras)
        return {"loss_sds": loss, "grad_norm": figures["gradient"], "stage": figures["stage"], "timestep": figures["t"]}

    def update_step(self, epoch, global_step, on_load_weights=False):
        """threestudio's count of steps, from which the stages follow."""
        self.step = global_step

    def _guide(self, prompt):
        cfg = self.cfg
        own = {name: getattr(cfg, name) if getattr(cfg, name) >= 0 else None for name in ("scale", "first_scale")}
        same = {name: getattr(cfg, name) for name in ("method", "steps", "switch", "t_low", "t_high", "t_high_end", "seed")}
        guide = Guide(self.prior, prompt, source=cfg.source or None, **own, **same)
        for note in guide.notes:
            threestudio.warn(note)
        return guide


@threestudio.register("sketchbridge-system")
class SketchbridgeSystem(threestudio.find("dreamfusion-system")):
    """threestudio's DreamFusion with this guidance and the prompt's words alone: rendering, losses and pictures are the system's own."""

    @dataclass
    class Config(threestudio.find("dreamfusion-system").Config):
        """Those of "dreamfusion-system", whose prompt processor is not asked."""

        prompt: str = ""
        guidance_type: str = "sketchbridge-guidance"

    cfg: Config

    def on_fit_start(self):
        """In place of DreamFusion's own, which would load a text encoder."""
        super(threestudio.find("dreamfusion-system"), self).on_fit_start()
        words = SimpleNamespace(prompt=self.cfg.prompt)
        self.prompt_processor = lambda: words
        self.guidance = threestudio.find(self.cfg.guidance_type)(self.cfg.guidance)
