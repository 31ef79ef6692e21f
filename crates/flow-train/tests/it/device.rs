//! Devices by name.

use flow_train::{Device, Error};

#[test]
fn names_parse_and_print_as_themselves() {
    for (name, device) in
        [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:3", Device::Cuda(3)), ("mps", Device::Mps)]
    {
        assert_eq!(name.parse::<Device>().unwrap(), device);
        assert_eq!(device.to_string(), name);
        assert_eq!(serde_json::to_value(device).unwrap(), name);
    }
    assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
    assert_eq!("auto".parse::<Device>().unwrap(), Device::default());
}

#[test]
fn others_are_refused_with_the_known_ones() {
    for name in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0"] {
        let error = name.parse::<Device>().unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")) && error.contains("cuda:N"), "{error}");
    }
    assert!(serde_json::from_str::<Device>("\"gpu\"").is_err());
}

#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_to_do() {
    assert_eq!(Device::Cpu.resolve().unwrap(), tch::Device::Cpu);
    assert!(Device::Auto.resolve().is_ok());
    let Err(Error::Device(why)) = Device::Cuda(4_000).resolve() else { panic!("nobody has so many GPUs") };
    assert!(why.contains("--device cpu"), "{why}");
}
