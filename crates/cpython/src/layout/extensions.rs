//! Objects of modules that come with CPython or beside it, and are not made up by anything else:
//! bytes behind `PyObject`.

/// `data` of a date, time or datetime, behind a hash and the flag before it
/// (Include/datetime.h, 3.8 to 3.15).
pub(crate) const DATE_DATA: u64 = 9;
/// The flag: whether it has a `tzinfo` (as above).
pub(crate) const DATE_HAS_TZINFO: u64 = 8;
/// `tzinfo` of a datetime and of a time (as above).
pub(crate) const DATETIME_TZINFO: u64 = 24;
/// See [`DATETIME_TZINFO`].
pub(crate) const TIME_TZINFO: u64 = 16;
/// `offset` of a `datetime.timezone` (Modules/_datetimemodule.c, 3.8 to 3.15).
pub(crate) const TIMEZONE_OFFSET: u64 = 0;
/// `days`, `seconds` and `microseconds` of a timedelta, each an `int` (as above).
pub(crate) const DELTA_DAYS: u64 = 8;

/// `dec` of a Decimal, a `mpd_t`: its flags, a byte (Modules/_decimal/_decimal.c,
/// Modules/_decimal/libmpdec/mpdecimal.h, 3.8 to 3.12, and libmpdec 2.5 to 4.0 since).
pub(crate) const DECIMAL_FLAGS: u64 = 8;
/// Its exponent, how many digits and how many words it has, and the pointer to the words: 19
/// decimal digits in each, the least ones first (as above).
pub(crate) const DECIMAL_EXPONENT: u64 = 16;
/// See [`DECIMAL_EXPONENT`].
pub(crate) const DECIMAL_LENGTH: u64 = 32;
/// See [`DECIMAL_EXPONENT`].
pub(crate) const DECIMAL_WORDS: u64 = 48;
/// `MPD_NEG`, `MPD_INF`, `MPD_NAN` and `MPD_SNAN` (as above).
pub(crate) const DECIMAL_NEGATIVE: u8 = 1;
/// See [`DECIMAL_NEGATIVE`].
pub(crate) const DECIMAL_INFINITE: u8 = 2;
/// See [`DECIMAL_NEGATIVE`].
pub(crate) const DECIMAL_NAN: u8 = 4 | 8;

/// `nd`, an `int`, of an array of numpy (numpy/core/include/numpy/ndarraytypes.h, 1.17 to 2.3:
/// `PyArrayObject_fields`).
pub(crate) const ARRAY_DIMENSIONS: u64 = 8;
/// The pointer to its extents (as above).
pub(crate) const ARRAY_SHAPE: u64 = 16;
/// The pointer to its `PyArray_Descr` (as above).
pub(crate) const ARRAY_ELEMENT: u64 = 40;
/// More dimensions than an array has: `NPY_MAXDIMS` is 32, and 64 since 2.0 (as above).
pub(crate) const MAX_DIMENSIONS: u32 = 64;
/// The pointer to the class of the scalars in a `PyArray_Descr` (as above).
pub(crate) const ELEMENT_CLASS: u64 = 0;

/// `axes` of a `BlockManager` of pandas, behind its table of methods and `blocks`
/// (pandas/_libs/internals.pyx, 1.3 to 3.1).
pub(crate) const MANAGER_AXES: u64 = 16;
/// `_ndarray` of an `NDArrayBacked` of pandas, behind its table of methods
/// (pandas/_libs/arrays.pyx, 1.4 to 3.1).
pub(crate) const BACKING_ARRAY: u64 = 8;
