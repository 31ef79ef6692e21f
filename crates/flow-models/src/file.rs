//! Model files: safetensors with one metadata key that says everything else, and one that guards the whole.
//! `docs/model-format.md` describes them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::digest::{self, LENGTH};
use crate::{Error, Model, ModelConfig, Prepared, Result};

/// The metadata key that says everything.
const KEY: &str = "flow";
/// The version of the format that is written, and the only one read.
const FORMAT: u32 = 1;

/// Everything about a model that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Version of the format.
    pub format: u32,
    /// What the model is built from.
    pub model: ModelConfig,
    /// Shape of one datum.
    pub event: Vec<usize>,
    /// Name and preprocessing of the data it was trained on, as flow-data describes them.
    pub data: Value,
    /// Seed of the training.
    pub seed: u64,
    /// Likelihoods reached, as flow-train reports them.
    pub reached: Value,
}

impl ModelCard {
    /// A card for `model`.
    pub fn new(model: &Model, data: Value, seed: u64, reached: Value) -> Self {
        ModelCard { format: FORMAT, model: model.config().clone(), event: model.event().to_vec(), data, seed, reached }
    }
}

/// Writes `tensors`, by name, and `card` to `path`. The same model and card give the same bytes.
///
/// # Errors
///
/// What the system says of the file, and [`Error::NotSaved`] for what [`load`] would refuse: tensors that are not those of the
/// card's configuration, of f64 for instance, or numbers that are not finite.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>, card: &ModelCard) -> Result<()> {
    put(path, prepare(path, tensors, card)?)
}

/// The same, to take its place later, together with other files.
///
/// # Errors
///
/// As [`save`].
pub fn prepare(path: &Path, tensors: &BTreeMap<String, Tensor>, card: &ModelCard) -> Result<Prepared> {
    require_sound(tensors, card).map_err(|why| Error::NotSaved { path: path.to_owned(), why })?;
    let card = serde_json::to_value(card).expect("a card is plain data");
    prepare_tensors(path, tensors, &card.to_string())
}

/// Writes tensors and one metadata text as safetensors, with a digest of the whole. Kinds are f32, f64 and i64.
///
/// # Errors
///
/// What the system says of the file, and [`Error::NotSaved`] for a tensor of another kind.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &str) -> Result<()> {
    put(path, prepare_tensors(path, tensors, metadata)?)
}

/// The same, to take its place later, together with other files.
///
/// # Errors
///
/// As [`write_tensors`].
pub fn prepare_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &str) -> Result<Prepared> {
    let parts = tensors.iter().map(|(name, tensor)| Ok((name, dtype(name, tensor)?, shape(tensor), bytes(tensor))));
    let parts: std::result::Result<Vec<_>, String> = parts.collect();
    let owned: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> =
        parts.map_err(|why| Error::NotSaved { path: path.to_owned(), why })?;
    let views = owned.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes come from one tensor");
        (name.as_str(), view)
    });
    let metadata = HashMap::from([(KEY.to_owned(), metadata.to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).expect("names and shapes are sound");
    Prepared::new(path, &digest::seal(&file)).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// What can be told of a model's tensors without building it.
fn require_sound(tensors: &BTreeMap<String, Tensor>, card: &ModelCard) -> std::result::Result<(), String> {
    for (name, tensor) in tensors {
        if ![Kind::Float, Kind::Int64].contains(&tensor.kind()) {
            return Err(format!("tensor {name:?} is {:?}; a model file holds f32", tensor.kind()));
        }
        require_sense(name, tensor)?;
    }
    require_as_many(tensors, card)
}

/// Refuses tensors that hold more or fewer numbers than the card's configuration has.
fn require_as_many(tensors: &BTreeMap<String, Tensor>, card: &ModelCard) -> std::result::Result<(), String> {
    let expected = card.model.saved_numbers(&card.event).map_err(|e| e.to_string())?;
    let held: u128 = tensors.values().map(|t| t.numel() as u128).sum();
    match expected == held {
        true => Ok(()),
        false => Err(format!("its configuration asks for {expected} numbers, its tensors hold {held}")),
    }
}

fn put(path: &Path, file: Prepared) -> Result<()> {
    file.put().map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Reads what [`write_tensors`] wrote: tensors by name, on the CPU, and the metadata text.
///
/// # Errors
///
/// The file cannot be read, is no safetensors file, lacks the metadata, has a tensor of no numbers, or is not what it was
/// when its digest was taken; files from before there were digests have none.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    let file = read_plain(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let wrong = |why: String| Error::File { path: path.to_owned(), why };
    let whole = file.len() as u64;
    let (first, rest) = file.split_first_chunk().ok_or_else(|| wrong(no_header(whole)))?;
    let header = &rest[..header_length(*first, whole).map_err(wrong)?];
    let parsed = parse_header(header, whole).map_err(wrong)?;
    let (metadata, digest) = texts(&parsed, header).map_err(wrong)?;
    if digest.is_some_and(|digest| !digest::is_whole(&file, digest)) {
        return Err(wrong("it is damaged: it is not what it was when its SHA-256 was taken".to_owned()));
    }
    let metadata = metadata.to_owned();
    let parsed = SafeTensors::deserialize(&file).map_err(|e| wrong(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.tensors() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            other => return Err(wrong(format!("tensor {name:?} is of type {other:?}; f32, f64 and i64 are known"))),
        };
        // With no numbers behind it a shape may say anything, up to products that overflow.
        if view.data().is_empty() {
            return Err(wrong(format!("tensor {name:?} of shape {:?} holds nothing", view.shape())));
        }
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
        tensors.insert(name.clone(), tensor.map_err(|e| wrong(format!("tensor {name:?}: {e}")))?);
    }
    Ok((tensors, metadata))
}

/// The metadata text alone, whatever the size of the tensors: the header is read and held against the file's length, the
/// numbers and with them the digest are not.
///
/// # Errors
///
/// The file cannot be read, is no safetensors file, is cut off, or lacks the metadata.
pub fn read_metadata(path: &Path) -> Result<String> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let wrong = |why: String| Error::File { path: path.to_owned(), why };
    require_plain(path).map_err(io)?;
    let mut file = File::open(path).map_err(io)?;
    let whole = file.metadata().map_err(io)?.len();
    let mut first = [0; LENGTH];
    if whole < LENGTH as u64 {
        return Err(wrong(no_header(whole)));
    }
    file.read_exact(&mut first).map_err(io)?;
    let mut header = vec![0; header_length(first, whole).map_err(wrong)?];
    file.read_exact(&mut header).map_err(io)?;
    let parsed = parse_header(&header, whole).map_err(wrong)?;
    Ok(texts(&parsed, &header).map_err(wrong)?.0.to_owned())
}

fn no_header(whole: u64) -> String {
    format!("{whole} bytes hold no header")
}

/// The length of the header of a file of `whole` bytes, [`LENGTH`] or more, by the `first` of them.
fn header_length(first: [u8; LENGTH], whole: u64) -> std::result::Result<usize, String> {
    /// What the safetensors crate allows.
    const LONGEST: u64 = 100_000_000;
    let length = u64::from_le_bytes(first);
    if length > LONGEST.min(whole - LENGTH as u64) {
        return Err(format!("its header would be {length} bytes long, the file has {whole}"));
    }
    Ok(length as usize)
}

/// The header of a file of `whole` bytes, held against that number. The safetensors crate holds it against it, too, but
/// adds up what a forged header says without a look at whether the sum can be held.
fn parse_header(header: &[u8], whole: u64) -> std::result::Result<Metadata, String> {
    let parsed: Metadata = serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
    let before = (LENGTH + header.len()) as u64;
    match before.checked_add(parsed.data_len() as u64) {
        Some(expected) if expected == whole => Ok(parsed),
        Some(expected) => Err(format!("it is {whole} bytes long, and by its header {expected}")),
        None => Err(format!("it is {whole} bytes long, and by its header more than can be counted")),
    }
}

/// What a model file says of itself, by [`read_metadata`].
///
/// # Errors
///
/// As there, and where the text is no card.
pub fn read_card(path: &Path) -> Result<ModelCard> {
    parse_card(&read_metadata(path)?).map_err(|why| Error::File { path: path.to_owned(), why })
}

/// The metadata text of a parsed header, and the digest where there is one.
fn texts<'a>(parsed: &'a Metadata, header: &[u8]) -> std::result::Result<(&'a str, Option<&'a str>), String> {
    refuse_duplicates(header).map_err(|e| e.to_string())?;
    let none = || format!("its header has no metadata key {KEY:?}");
    let metadata = parsed.metadata().as_ref().ok_or_else(none)?;
    let text = metadata.get(KEY).ok_or_else(none)?;
    // A digest under a damaged name must not pass for none. `format` is what other programs add.
    if let Some(key) = metadata.keys().find(|key| ![KEY, digest::KEY, "format"].contains(&key.as_str())) {
        return Err(format!("its header has an unknown metadata key {key:?}"));
    }
    Ok((text, metadata.get(digest::KEY).map(String::as_str)))
}

/// The whole of a plain file.
fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    require_plain(path)?;
    std::fs::read(path)
}

/// A device may have no end.
fn require_plain(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a plain file")),
    }
}

/// Reads a model file and builds the model on `device`.
///
/// # Errors
///
/// The file cannot be read or is not a sound model file: says what is wrong and where.
pub fn load(path: &Path, device: Device) -> Result<(Model, ModelCard)> {
    let wrong = |why: String| Error::File { path: path.to_owned(), why };
    let (tensors, metadata) = read_tensors(path)?;
    let card = parse_card(&metadata).map_err(wrong)?;
    // Before anything is built: a forged configuration must not allocate more than the file holds.
    require_as_many(&tensors, &card).map_err(wrong)?;
    let model = Model::saved(&card.model, &card.event, device).map_err(|e| wrong(e.to_string()))?;
    copy_into(&model, &tensors).map_err(wrong)?;
    Ok((model, card))
}

fn parse_card(metadata: &str) -> std::result::Result<ModelCard, String> {
    let value: Value = serde_json::from_str(metadata).map_err(|e| format!("its metadata is not JSON: {e}"))?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => return Err(format!("it is of format {format}, this program reads format {FORMAT}")),
        None => return Err("its metadata names no format".to_owned()),
    }
    // From the text, not from `value`, in which the last of two fields of one name has already won.
    serde_json::from_str(metadata).map_err(|e| format!("its metadata: {e}"))
}

/// Refuses a header that gives one name to two tensors: the safetensors crate keeps the last and says nothing.
fn refuse_duplicates(header: &[u8]) -> serde_json::Result<()> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a safetensors header")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
            let mut seen = HashSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
                if let Some(name) = seen.replace(name) {
                    return Err(M::Error::custom(format!("two tensors are called {name:?}")));
                }
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_slice(header).deserialize_map(Names)
}

/// Copies `tensors` into the variables of the same names.
///
/// # Errors
///
/// A tensor that is missing, not expected, of another shape or kind, not finite, or that cannot be what its name says
/// (an order that is no permutation, a sign that is not ±1, a negative variance), in words; nothing is copied then.
pub fn copy_into(model: &Model, tensors: &BTreeMap<String, Tensor>) -> std::result::Result<(), String> {
    let variables = model.variables();
    if let Some(name) = tensors.keys().find(|name| !variables.contains_key(*name)) {
        return Err(format!("tensor {name:?} belongs to no layer of its configuration"));
    }
    for (name, variable) in &variables {
        let tensor = tensors.get(name).ok_or_else(|| format!("tensor {name:?} is missing"))?;
        if tensor.size() != variable.size() || tensor.kind() != variable.kind() {
            let (got, want) = (tensor, variable);
            return Err(format!(
                "tensor {name:?} is {:?} {:?}, its configuration asks for {:?} {:?}",
                got.kind(),
                got.size(),
                want.kind(),
                want.size()
            ));
        }
        require_sense(name, tensor)?;
    }
    flow_core::no_grad(|| {
        for (name, variable) in variables {
            variable.shallow_clone().copy_(&tensors[&name]);
        }
    });
    Ok(())
}

/// Refuses numbers that cannot be those of the variable called `name`.
fn require_sense(name: &str, tensor: &Tensor) -> std::result::Result<(), String> {
    if tensor.isfinite().all().int64_value(&[]) == 0 {
        return Err(format!("tensor {name:?} holds a number that is not finite"));
    }
    nonsense(name, tensor).map_or(Ok(()), |fault| Err(format!("tensor {name:?} {fault}")))
}

/// What is wrong with finite numbers, by the last part of the `name` of the variable that they are of.
fn nonsense(name: &str, tensor: &Tensor) -> Option<String> {
    if tensor.kind() == Kind::Int64 {
        return (!is_permutation(tensor)).then(|| format!("is no permutation of 0 to {}", tensor.numel() - 1));
    }
    let any = |wrong: Tensor| wrong.any().int64_value(&[]) == 1;
    match name.rsplit('.').next() {
        // That of a 1x1 convolution's diagonal: its log-determinant takes it for 1 or -1.
        Some("sign") if any(tensor.abs().ne(1.0)) => Some("holds a sign that is neither 1 nor -1".to_owned()),
        Some("variance") if any(tensor.lt(0.0)) => Some("holds a variance that is negative".to_owned()),
        _ => None,
    }
}

/// Whether each of `0..n` occurs once in `order: [n]`. The orders of shuffles are the only whole numbers in a model.
fn is_permutation(order: &Tensor) -> bool {
    let all = Tensor::arange(order.numel() as i64, (Kind::Int64, order.device()));
    order.sort(0, false).0 == all
}

fn dtype(name: &str, tensor: &Tensor) -> std::result::Result<Dtype, String> {
    match tensor.kind() {
        Kind::Float => Ok(Dtype::F32),
        Kind::Double => Ok(Dtype::F64),
        Kind::Int64 => Ok(Dtype::I64),
        other => Err(format!("tensor {name:?} is {other:?}; f32, f64 and i64 are known")),
    }
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&n| n as usize).collect()
}

/// Little-endian bytes in row-major order.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}
