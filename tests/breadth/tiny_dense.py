"""Tiny networks: name -> (model, configuration, options[, what is unusual])."""

from __future__ import annotations

from breadth.tiny_images import IMAGES
from breadth.tiny_parts import DETECTOR, PYRAMID, RESNET, STAGES, VIT, WINDOWS, Rows

MAPS: Rows = {
    "segformer-map": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {**PYRAMID, "decoder_hidden_size": 16},
    ),
    "mobilevit-map": (
        "MobileViTForSemanticSegmentation",
        "MobileViTConfig",
        {**IMAGES["mobilevit"][2], "aspp_out_channels": 16},
    ),
    "upernet": (
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            "backbone_config": (
                "ConvNextConfig",
                {**STAGES, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
            ),
            "hidden_size": 16,
            "auxiliary_channels": 8,
            "auxiliary_in_channels": 32,
            "num_labels": 7,
        },
    ),
    "dpt": (
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **VIT,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 16, 16, 16],
            "fusion_hidden_size": 16,
        },
        {"output": "predicted_depth"},
    ),
    "depth-anything": (
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": (
                "Dinov2Config",
                {
                    **VIT,
                    "num_hidden_layers": 4,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                    "reshape_hidden_states": False,
                },
            ),
            "patch_size": 16,
            "reassemble_hidden_size": 32,
            "neck_hidden_sizes": [16, 16, 16, 16],
            "fusion_hidden_size": 16,
            "head_hidden_size": 8,
        },
        {"output": "predicted_depth"},
    ),
    "glpn": (
        "GLPNForDepthEstimation",
        "GLPNConfig",
        {**PYRAMID, "decoder_hidden_size": 16},
        {"output": "predicted_depth"},
    ),
    "swin2sr": (
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        {
            "image_size": 32,
            "patch_size": 1,
            "embed_dim": 16,
            "depths": [2, 1],
            "num_heads": [2, 2],
            "window_size": 4,
            "upscale": 2,
        },
        {"output": "reconstruction", "shape": (1, 3, 16, 16)},
    ),
}

SETS: Rows = {
    "detr": ("DetrForObjectDetection", "DetrConfig", DETECTOR),
    "conditional-detr": (
        "ConditionalDetrForObjectDetection",
        "ConditionalDetrConfig",
        DETECTOR,
    ),
    "deformable-detr": (
        "DeformableDetrForObjectDetection",
        "DeformableDetrConfig",
        {**DETECTOR, "backbone_config": RESNET, "num_feature_levels": 3, "decoder_layers": 2},
    ),
    "table-transformer": (
        "TableTransformerForObjectDetection",
        "TableTransformerConfig",
        DETECTOR,
    ),
    "rt-detr": (
        "RTDetrForObjectDetection",
        "RTDetrConfig",
        {
            "backbone_config": (
                "RTDetrResNetConfig",
                {**RESNET[1], "embedding_size": 16},
            ),
            "use_pretrained_backbone": False,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [24, 32, 48],
            "encoder_ffn_dim": 48,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "d_model": 32,
            "num_queries": 6,
            "decoder_in_channels": [32, 32, 32],
            "decoder_ffn_dim": 48,
            "decoder_layers": 1,
            "decoder_attention_heads": 4,
            "num_labels": 5,
            "hidden_expansion": 0.5,
        },
    ),
    "yolos": (
        "YolosForObjectDetection",
        "YolosConfig",
        {**VIT, "image_size": [64, 64], "num_detection_tokens": 6, "num_labels": 5},
    ),
    "mask2former": (
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerConfig",
        {
            "backbone_config": (
                "SwinConfig",
                {
                    **WINDOWS,
                    "depths": [1, 1, 1, 1],
                    "num_heads": [2, 2, 2, 2],
                    "window_size": 2,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "feature_size": 32,
            "mask_feature_size": 32,
            "hidden_dim": 32,
            "encoder_feedforward_dim": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "num_attention_heads": 4,
            "dim_feedforward": 32,
            "num_queries": 5,
            "num_labels": 5,
        },
        {"output": "class_queries_logits"},
    ),
    "maskformer": (
        "MaskFormerForInstanceSegmentation",
        "MaskFormerConfig",
        {
            "backbone_config": (
                "SwinConfig",
                {
                    **WINDOWS,
                    "depths": [1, 1, 1, 1],
                    "num_heads": [2, 2, 2, 2],
                    "window_size": 2,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
            ),
            "decoder_config": ("DetrConfig", DETECTOR),
            "fpn_feature_size": 32,
            "mask_feature_size": 32,
            "num_labels": 5,
        },
        {"output": "class_queries_logits"},
    ),
}
