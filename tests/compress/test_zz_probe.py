import numpy as np, torch, sys
from edgecnn.compress.qat.kernel import prepare
from edgecnn.compress.qat.stage import Qat
from edgecnn.quantize.stage import Quantize
from edgecnn.quantize import litert
from edgecnn.compress.qat.network import Node
def test_p(around, exported, digits):
    torch.set_num_threads(1)
    _, everything = digits
    X=torch.cat([torch.from_numpy(b) for b in everything.batches(256)])[:400]
    source=exported("tflite")
    made=Quantize().run(source, around.context("quantize","tflite"))
    net=prepare(source,Qat(),around.context("again","tflite")).network
    torch.save((net,made.path.read_bytes(),X),"/tmp/qat/probe.pt")
