import onnx
from onnx_graphsurgeon import Node, Tensor

class OnnxExporter:
    @staticmethod
    def export_node(node: Node) -> onnx.NodeProto: ...
    @staticmethod
    def export_tensor_proto(tensor: Tensor) -> onnx.TensorProto: ...
    @staticmethod
    def export_value_info_proto(tensor: Tensor, do_type_check: bool) -> onnx.ValueInfoProto: ...
