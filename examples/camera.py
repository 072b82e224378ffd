"""A camera in front of a bundle: `python camera.py BUNDLE` prints what each frame shows, until Ctrl-C.

Runs on the board. Needs OpenCV (on a Jetson it comes with JetPack; else `pip install opencv-python-headless`) and what
the bundle's README names.
"""

import sys
import time
from pathlib import Path

import cv2

bundle = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(bundle))
from infer import BundledModel  # noqa: E402 - it lies in the bundle

camera = cv2.VideoCapture(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
with BundledModel(bundle) as model:
    while True:
        arrived, frame = camera.read()
        if not arrived:
            break
        began = time.perf_counter()
        answer = model.predict(frame[:, :, ::-1], top=3)  # OpenCV's frames are BGR
        took_ms = 1000 * (time.perf_counter() - began)
        likeliest = ", ".join(f"{one['label']} {one['probability']:.0%}" for one in answer["top"])
        print(f"{took_ms:.1f} ms  {likeliest}")
camera.release()
