"""Masks of images and volumes from trained models, made here by onnxruntime: no torch."""
