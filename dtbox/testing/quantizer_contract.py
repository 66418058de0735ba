"""The contract of quantizers (see `dtbox.quantizers.base`): 27 checks of outputs, inputs, gradients and state."""
from dtbox.testing import quantizer_gradients, quantizer_inputs, quantizer_outputs, quantizer_state
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.quantizer_subject import QuantizerSubject

QUANTIZER = Contract('quantizer', 'quantizers', QuantizerSubject, index_by_name(
    quantizer_outputs.sizes, quantizer_outputs.shapes, quantizer_outputs.dtypes,
    quantizer_outputs.decode_equals_forward,
    quantizer_outputs.code_range, quantizer_outputs.codes_stand_alone, quantizer_outputs.autocast,
    quantizer_outputs.losses,
    quantizer_outputs.copies, quantizer_outputs.settles,
    quantizer_inputs.empty_batches, quantizer_inputs.refuses_non_finite, quantizer_inputs.refuses_wrong_shapes,
    quantizer_inputs.refuses_wrong_codes,
    quantizer_gradients.gradient_reaches_input, quantizer_gradients.straight_through,
    quantizer_gradients.parameters_get_gradient, quantizer_gradients.encode_builds_no_graph,
    quantizer_gradients.checkpointing,
    quantizer_state.evaluation_leaves_state, quantizer_state.forward_leaves_state, quantizer_state.skipped_step,
    quantizer_state.reproducible, quantizer_state.state_dict, quantizer_state.accumulation, quantizer_state.memory,
    quantizer_state.two_ranks))
