//! What has to be known of each version's bytecode: opcodes change with every minor version.

use super::structures::{CallLayout, Delegation, InstructionsLayout};

/// Lib/opcode.py, 3.8 to 3.10: `YIELD_FROM`.
pub(super) const OBJECTS: InstructionsLayout = InstructionsLayout {
    caches: &[],
    delegation: Delegation::Next {
        opcodes: &[72],
        least: 0,
    },
    call: None,
};

/// Include/opcode.h and Include/internal/pycore_opcode.h (`_PyOpcode_Caches` of what
/// `_PyOpcode_Deopt` leads to), 3.11: `RESUME` and `RESUME_QUICK`; `CALL_PY_EXACT_ARGS` and
/// `CALL_PY_WITH_DEFAULTS` with `_PyCallCache`.
pub(super) const V3_11: InstructionsLayout = InstructionsLayout {
    caches: &[
        (
            1,
            &[
                3, 4, 5, 6, 7, 8, 13, 14, 16, 60, 64, 65, 66, 67, 72, 73, 76, 77, 78, 79, 80, 81,
                92, 113, 121, 122, 127, 141, 143, 166, 168, 169, 170, 177, 178, 179, 180,
            ],
        ),
        (2, &[26, 27, 28, 29, 107]),
        (
            4,
            &[
                17, 18, 19, 20, 21, 22, 23, 24, 25, 39, 40, 41, 42, 43, 95, 106, 153, 154, 158,
                159, 171,
            ],
        ),
        (5, &[47, 48, 55, 116]),
        (10, &[56, 57, 58, 59, 62, 63, 160]),
    ],
    delegation: Delegation::Next {
        opcodes: &[151, 150],
        least: 2,
    },
    call: Some(CallLayout {
        remembering: &[23, 24],
        at: -8,
        version: -4,
        others: &[(-8, &[171, 22, 19])],
        // Include/internal/pycore_frame.h and Include/cpython/funcobject.h.
        function: 0,
        function_version: 128,
        function_code: 48,
        entry: Some(68),
    }),
};

/// As above, 3.12: `RESUME` and `INSTRUMENTED_RESUME`; `CALL_PY_EXACT_ARGS`,
/// `CALL_PY_WITH_DEFAULTS` and `CALL_BOUND_METHOD_EXACT_ARGS`; instrumented opcodes with the
/// caches of what they stand for.
pub(super) const V3_12: InstructionsLayout = InstructionsLayout {
    caches: &[
        (
            1,
            &[
                6, 7, 8, 10, 13, 14, 16, 18, 19, 20, 21, 22, 25, 57, 58, 59, 60, 62, 63, 64, 65,
                66, 67, 92, 93, 107, 122, 123, 141, 159, 160, 161, 166, 167, 168, 237, 248,
            ],
        ),
        (
            3,
            &[
                23, 24, 28, 29, 34, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 56, 171, 241,
            ],
        ),
        (4, &[95, 111, 112, 113, 116, 148, 153]),
        (9, &[70, 72, 73, 76, 77, 78, 79, 80, 81, 82, 106]),
    ],
    delegation: Delegation::Next {
        opcodes: &[151, 240],
        least: 2,
    },
    call: Some(CallLayout {
        remembering: &[23, 24, 28],
        at: -6,
        version: -2,
        others: &[
            (0, &[142, 244, 253, 254]),
            (-2, &[20, 65, 123, 168, 253, 254]),
            (-6, &[171, 241, 253, 254]),
            (-18, &[72, 77, 253, 254]),
        ],
        function: 16,
        function_version: 136,
        function_code: 48,
        entry: None,
    }),
};

/// Include/opcode_ids.h, 3.13: `CALL_BOUND_METHOD_EXACT_ARGS`, `CALL_BOUND_METHOD_GENERAL`,
/// `CALL_PY_EXACT_ARGS` and `CALL_PY_GENERAL` with `_PyCallCache`. The others: `CALL`, `CALL_KW`,
/// `CALL_FUNCTION_EX`, `CALL_ALLOC_AND_ENTER_INIT`, `BINARY_SUBSCR_GETITEM`, `FOR_ITER_GEN`,
/// `LOAD_ATTR_PROPERTY`, `LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN`, `SEND` and `SEND_GEN`, their
/// instrumented forms, and `ENTER_EXECUTOR`.
pub(super) const V3_13: InstructionsLayout = standing_at(
    &[163, 164, 177, 178],
    &[(
        0,
        &[
            53, 57, 54, 162, 158, 187, 200, 192, 104, 208, 244, 245, 246, 247, 254, 70,
        ],
    )],
    136,
);

/// As above, 3.14, with `CALL_KW_BOUND_METHOD` and `CALL_KW_PY`.
pub(super) const V3_14: InstructionsLayout = standing_at(
    &[144, 145, 151, 153, 161, 162],
    &[(
        0,
        &[
            52, 55, 4, 143, 136, 171, 187, 179, 106, 197, 250, 251, 252, 238, 254, 255,
        ],
    )],
    144,
);

/// As above, 3.15, with `CALL_EX_PY`, `SEND_ASYNC_GEN`, `SEND_VIRTUAL` and `TRACE_RECORD`.
pub(super) const V3_15: InstructionsLayout = standing_at(
    &[145, 146, 154, 156, 164, 165],
    &[(
        0,
        &[
            50, 53, 4, 144, 136, 174, 193, 185, 105, 203, 249, 250, 251, 237, 253, 254, 152, 202,
            204, 255,
        ],
    )],
    144,
);

/// Of versions whose frames stand at the instruction itself, and whose generators say what they
/// wait in by their state. `func_version` is where a build with a GIL has it.
const fn standing_at(
    remembering: &'static [u8],
    others: &'static [(i64, &'static [u8])],
    function_version: u64,
) -> InstructionsLayout {
    InstructionsLayout {
        caches: &[],
        delegation: Delegation::State,
        call: Some(CallLayout {
            remembering,
            at: 0,
            version: 4,
            others,
            function: 16,
            function_version,
            function_code: 48,
            entry: None,
        }),
    }
}
