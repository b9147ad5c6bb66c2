"""The same model call behind other servers. Each runs in an environment of its own without our code and without torch.

`python FILE PORT MODEL` serves POST /next. A request is `{"tracks", "outcomes", "count"}`, rows and outcome numbers, and the
reply has rows and scores. BentoML and Triton want the same in another envelope. All run the graph that our service runs:
`model.onnx` of the artifact with its item matrix (int8 or fp32), on one thread of the same release of ONNX Runtime, for the
same histories and 20 tracks. Our route also looks ids up, checks them, and names the tracks of the reply; a rival does none
of this.
"""
