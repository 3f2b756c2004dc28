"""Load a pipeline and draw one noisy picture: load_diffusion.py REPO."""

import sys

import torch
from answers import answer, weights
from diffusers import DDPMPipeline

pipeline = DDPMPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
picture = pipeline(num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
answer(weights=weights(pipeline.unet.state_dict()), shape=list(picture.shape))
