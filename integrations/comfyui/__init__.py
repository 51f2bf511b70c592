"""A node for ComfyUI: an image by any method of score distillation. Put or link this folder into custom_nodes/, and install the engine into
ComfyUI's Python (`pip install PATH/TO/THIS/PROJECT`). Nothing of ComfyUI is imported.
"""

from engine.guidance import METHODS, methods_for


class SketchbridgeImage:
    """Optimizes the image of a prompt, or changes the one that is given."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "image/sketchbridge"
    DESCRIPTION = "Score distillation: SDS, then the calibrated direction (arXiv 2406.09417), and its kin"

    @classmethod
    def INPUT_TYPES(cls):
        """As ComfyUI asks for them."""
        return {
            "required": {
                "prompt": ("STRING", {"multiline": True, "default": "a photo of a red mushroom"}),
                "model": ("STRING", {"default": "embedded"}),
                "method": ([name for name in methods_for("image") if not METHODS[name].samples],),
                "steps": ("INT", {"default": 300, "min": 1, "max": 100_000}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**63 - 1}),
            },
            "optional": {
                "image": ("IMAGE",),
                "source": ("STRING", {"default": ""}),
                "strength": ("FLOAT", {"default": 0.6, "min": 0.05, "max": 1.0, "step": 0.05}),
            },
        }

    def make(self, prompt, model, method, steps, seed, image=None, source="", strength=0.6):
        """([B, H, W, 3] in 0..1,): one image of the prompt; or, of each image [B, H, W, 3], what the prompt makes of it."""
        import torch

        with torch.inference_mode(False), torch.enable_grad():  # ComfyUI runs its nodes in inference mode, where nothing has a gradient
            given = None if image is None else image.clone()  # one that was made in it has none for good
            return self._made(prompt, model, method, steps, seed, given, source, strength)

    def _made(self, prompt, model, method, steps, seed, image, source, strength):
        import torch

        from engine.diffusion.load import load_prior
        from engine.diffusion.prompts import check_prompt
        from engine.lab.edit import Edit, edit_image
        from engine.lab.optimize import text_to_image
        from engine.lab.recipes import for_prior, recipe
        from engine.reporting import ConsoleReporter

        check_prompt(prompt)
        recipe(method, steps=steps)  # what cannot be is told before the model is loaded
        if image is not None and (image.dim() != 4 or image.shape[3] not in (3, 4) or 0 in image.shape):
            raise ValueError(
                f"expected an IMAGE [B, H, W, 3] in 0..1, got {list(image.shape)}: a mask becomes one by Convert Mask to Image"
            )
        prior, generator, reporter = load_prior(model), torch.Generator().manual_seed(seed), ConsoleReporter()
        numbers = for_prior(recipe(method, steps=steps), prior.image_size, ["steps"])
        if image is None:
            made = text_to_image(prior, [prompt], numbers, generator, reporter, sources=[source] if source else None)
        else:
            given = image.permute(0, 3, 1, 2)[:, :3]
            made = edit_image(prior, given, Edit(prompt, source or None, strength), numbers, generator, reporter)
        return (made.permute(0, 2, 3, 1).float().cpu(),)


NODE_CLASS_MAPPINGS = {"SketchbridgeImage": SketchbridgeImage}
NODE_DISPLAY_NAME_MAPPINGS = {"SketchbridgeImage": "Sketchbridge: Score Distillation"}
