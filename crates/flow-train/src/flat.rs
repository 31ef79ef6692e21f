//! All trained parameters in one buffer, so that an optimizer sees one vector and its state can be saved; and all their
//! gradients in another, where a backward pass leaves them.

use flow_core::gradient_of;
use flow_models::Model;
use tch::Tensor;

use crate::memory;

/// Offsets are multiples of this many numbers, 64 bytes of f32.
const ALIGN: i64 = 16;

/// One variable's place in the buffer.
#[derive(Debug, Clone)]
pub struct Place {
    /// The variable's name.
    pub name: String,
    /// Where it begins.
    pub offset: i64,
    /// How many numbers it has.
    pub len: i64,
}

impl Place {
    /// Which numbers of the buffer.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }

    /// This place of `buffer`, in the shape of its variable.
    fn view(&self, buffer: &Tensor, variable: &Tensor) -> Tensor {
        buffer.narrow(0, self.offset, self.len).view(&variable.size()[..])
    }
}

/// The trained variables of a model as views of one f32 vector, by name in ascending order.
#[derive(Debug)]
pub struct FlatParameters {
    places: Vec<Place>,
    variables: Vec<Tensor>,
    buffer: Tensor,
    gradients: Tensor,
}

impl FlatParameters {
    /// Moves the model's trained variables into one buffer; the model goes on working on the same numbers. Their gradients,
    /// 0 for now, become views of a second one. The model's device and kind (f32) must not change afterwards.
    pub fn new(model: &Model) -> Self {
        let mut places = Vec::new();
        let mut variables = Vec::new();
        let mut offset = 0;
        for (name, variable) in model.variables() {
            if variable.requires_grad() {
                let len = variable.numel() as i64;
                places.push(Place { name, offset, len });
                variables.push(variable);
                offset += (len + ALIGN - 1) / ALIGN * ALIGN;
            }
        }
        let [buffer, gradients] = [(); 2].map(|()| memory::zeros(offset, model.flow().device()));
        let mut flat = FlatParameters { places, variables, buffer, gradients };
        flat.move_in();
        flat
    }

    fn move_in(&mut self) {
        flow_core::no_grad(|| {
            for (place, variable) in self.places.iter().zip(&mut self.variables) {
                let mut own = place.view(&self.buffer, variable);
                own.copy_(variable);
                variable.set_data(&own);
            }
        });
        self.place_gradients();
    }

    fn place_gradients(&mut self) {
        flow_core::no_grad(|| {
            for (place, variable) in self.places.iter().zip(&self.variables) {
                let mut gradient = gradient_of(variable).expect("only trained variables have a place");
                gradient.set_data(&place.view(&self.gradients, variable));
            }
        });
    }

    /// The variables of a model that has the same numbers ([`Model::twin`]); its gradients lie with these, or in a buffer of
    /// their own.
    pub(crate) fn of_twin(&self, twin: &Model, with_these: bool) -> Self {
        let device = self.buffer.device();
        let mut named = twin.variables();
        let mut flat = FlatParameters {
            places: self.places.clone(),
            variables: self.places.iter().filter_map(|place| named.remove(&place.name)).collect(),
            buffer: self.buffer.shallow_clone(),
            gradients: match with_these {
                true => self.gradients.shallow_clone(),
                false => memory::zeros(self.buffer.numel() as i64, device),
            },
        };
        assert_eq!(flat.variables.len(), flat.places.len(), "a twin has the same variables");
        flat.place_gradients();
        flat
    }

    /// Where each variable is.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The variables, in the order of the places.
    pub fn variables(&self) -> &[Tensor] {
        &self.variables
    }

    /// The variables by name.
    pub fn named(&self) -> Vec<(&str, &Tensor)> {
        self.places.iter().map(|place| place.name.as_str()).zip(&self.variables).collect()
    }

    /// The buffer itself, `[numbers]`; writing to it changes the model.
    pub fn buffer(&self) -> &Tensor {
        &self.buffer
    }

    /// The gradients, `[numbers]`, in the places of the variables; between these it is 0. Backward passes add to it.
    pub fn gradients(&self) -> &Tensor {
        &self.gradients
    }

    /// The gradient of the variable in `place`, as a vector.
    pub(crate) fn gradient(&self, place: usize) -> Tensor {
        let Place { offset, len, .. } = self.places[place];
        self.gradients.narrow(0, offset, len)
    }

    /// Which place a trained variable of the model has; `None` for a tensor that is none.
    pub(crate) fn place_of(&self, variable: &Tensor) -> Option<usize> {
        let bytes = (variable.data_ptr() as usize).checked_sub(self.buffer.data_ptr() as usize)?;
        let offset = (bytes / size_of::<f32>()) as i64;
        self.places.binary_search_by_key(&offset, |place| place.offset).ok()
    }

    /// Sets all gradients to 0.
    pub fn zero_gradients(&self) {
        let _ = self.gradients.shallow_clone().zero_();
    }

    /// The norm of all gradients together, √Σ g².
    pub fn gradient_norm(&self) -> f64 {
        self.gradients.norm().double_value(&[])
    }

    /// Overwrites the model's numbers by those of `other`, a buffer of the same layout.
    pub fn copy_from(&self, other: &Tensor) {
        flow_core::no_grad(|| self.buffer.shallow_clone().copy_(other));
    }

    /// Runs `f` with the numbers of `other` in the model, then puts the model's own back, after a panic as well.
    pub fn with<T>(&self, other: &Tensor, f: impl FnOnce() -> T) -> T {
        struct Back<'a>(&'a FlatParameters, Tensor);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.copy_from(&self.1);
            }
        }
        let _back = Back(self, self.buffer.copy());
        self.copy_from(other);
        f()
    }
}
