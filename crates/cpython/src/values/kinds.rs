//! What the instances of a class are, as far as memory tells it.

use invivo_model::SequenceForm;

use super::classes::Class;
use crate::layout::common::{
    BYTES_FLAG, CLASS_FLAG, DICT_FLAG, EXCEPTION_FLAG, INT_FLAG, LIST_FLAG, STRING_FLAG, TUPLE_FLAG,
};

/// What an object is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    None,
    Bool,
    Int,
    Float,
    Complex,
    Str,
    Bytes,
    ByteArray,
    Tuple,
    NamedTuple,
    List,
    Set(SequenceForm),
    Deque,
    Dict,
    Exception,
    Class,
    Module,
    Function,
    Method,
    NativeFunction,
    /// A generator, coroutine or asynchronous generator.
    Generator,
    Code,
    Cell,
    /// A weak reference or proxy.
    WeakReference,
    /// `types.MappingProxyType`.
    MappingProxy,
    DictKeys,
    DictValues,
    DictItems,
    Date,
    DateTime,
    Time,
    TimeDelta,
    Decimal,
    Array,
    /// A number of numpy.
    Scalar(Scalar),
    /// A data frame or series of pandas.
    Table,
    /// What keeps the blocks of a data frame.
    BlockManager,
    /// An array of pandas around one of numpy.
    ArrayBacked,
    /// Anything else.
    Object,
}

/// How a number of numpy lies behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    /// Of so many bytes.
    Signed(usize),
    /// Of so many bytes.
    Unsigned(usize),
    Single,
    Double,
}

impl Kind {
    /// What instances of the first class in `chain` are: the others are its bases. `metaclasses`
    /// are its class and the bases of that.
    pub(crate) fn of(chain: &[&Class], metaclasses: &[&Class]) -> Self {
        let flags = chain.first().map_or(0, |class| class.flags);
        // Members of an enumeration are best known by their attributes, whatever else they are.
        if metaclasses.iter().any(|class| is_of_enum(class)) {
            return Self::Object;
        }
        let mut native = chain.iter().filter(|class| class.is_native());
        let has_fields = || chain.iter().any(|class| !class.fields.is_empty());
        let by_flag = [
            (CLASS_FLAG, Self::Class),
            (EXCEPTION_FLAG, Self::Exception),
            (STRING_FLAG, Self::Str),
            (BYTES_FLAG, Self::Bytes),
            (LIST_FLAG, Self::List),
            (DICT_FLAG, Self::Dict),
        ];
        let flagged = by_flag.into_iter().find(|(flag, _)| flags & flag != 0);
        match flagged {
            Some((_, kind)) => kind,
            None if flags & TUPLE_FLAG != 0 && has_fields() => Self::NamedTuple,
            None if flags & TUPLE_FLAG != 0 => Self::Tuple,
            None if flags & INT_FLAG != 0 => {
                if native.any(|class| class.name.text == "bool") {
                    Self::Bool
                } else {
                    Self::Int
                }
            }
            None => native
                .find_map(|class| Self::called(&class.name.text))
                .or_else(|| chain.iter().find_map(|class| Self::of_pandas(class)))
                .unwrap_or(Self::Object),
        }
    }

    /// What instances of the native class of that name are.
    fn called(name: &str) -> Option<Self> {
        let numpy = name.strip_prefix("numpy.");
        Some(match name {
            "NoneType" => Self::None,
            "float" => Self::Float,
            "complex" => Self::Complex,
            "bytearray" => Self::ByteArray,
            "set" => Self::Set(SequenceForm::Set),
            "frozenset" => Self::Set(SequenceForm::FrozenSet),
            "frozendict" => Self::Dict,
            "collections.deque" => Self::Deque,
            "module" => Self::Module,
            "function" => Self::Function,
            "method" => Self::Method,
            "builtin_function_or_method" => Self::NativeFunction,
            "generator" | "coroutine" | "async_generator" => Self::Generator,
            "code" => Self::Code,
            "cell" => Self::Cell,
            "weakref" | "weakproxy" | "weakcallableproxy" => Self::WeakReference,
            "weakref.ReferenceType" | "weakref.ProxyType" | "weakref.CallableProxyType" => {
                Self::WeakReference
            }
            "mappingproxy" => Self::MappingProxy,
            "dict_keys" => Self::DictKeys,
            "dict_values" => Self::DictValues,
            "dict_items" => Self::DictItems,
            "datetime.date" => Self::Date,
            "datetime.datetime" => Self::DateTime,
            "datetime.time" => Self::Time,
            "datetime.timedelta" => Self::TimeDelta,
            "decimal.Decimal" => Self::Decimal,
            "numpy.ndarray" => Self::Array,
            // Built as a datetime, and none.
            "pandas._libs.tslibs.nattype._NaT" => Self::Object,
            _ => Self::Scalar(Scalar::called(numpy?)?),
        })
    }

    /// What instances of this class of pandas are.
    fn of_pandas(class: &Class) -> Option<Self> {
        Some(match (class.by_python, class.name.text.as_str()) {
            (true, "DataFrame" | "Series") => Self::Table,
            (false, "pandas._libs.internals.BlockManager") => Self::BlockManager,
            (false, "pandas._libs.arrays.NDArrayBacked") => Self::ArrayBacked,
            _ => return None,
        })
    }

    /// Whether such objects hold others.
    pub(crate) fn is_container(self) -> bool {
        matches!(
            self,
            Self::Tuple
                | Self::NamedTuple
                | Self::List
                | Self::Set(_)
                | Self::Deque
                | Self::Dict
                | Self::Exception
                | Self::Cell
                | Self::WeakReference
                | Self::MappingProxy
                | Self::DictKeys
                | Self::DictValues
                | Self::DictItems
                | Self::Table
                | Self::BlockManager
                | Self::ArrayBacked
                | Self::Object
        )
    }
}

impl Scalar {
    /// The scalar type of numpy of that name. Those of which it depends on the platform how long
    /// they are have other names there.
    fn called(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "bool_" => Self::Bool,
            "int8" => Self::Signed(1),
            "int16" => Self::Signed(2),
            "int32" => Self::Signed(4),
            "int64" => Self::Signed(8),
            "uint8" => Self::Unsigned(1),
            "uint16" => Self::Unsigned(2),
            "uint32" => Self::Unsigned(4),
            "uint64" => Self::Unsigned(8),
            "float32" => Self::Single,
            "float64" => Self::Double,
            _ => return None,
        })
    }
}

fn is_of_enum(class: &Class) -> bool {
    class.by_python && ["EnumMeta", "EnumType"].contains(&class.name.text.as_str())
}
