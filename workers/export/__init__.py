"""The final model in the forms that other tools open: ONNX, MONAI bundle, torch.export, TorchScript.

Each is made and compared with the trained network in a process of its own (`python -m workers.export FOLDER`), so that
an export that fails, hangs or takes all memory costs no job its result. `workers.export.publish` is what a run calls.
"""
