package iamsim

import (
	"slices"
	"time"
)

// extras are credentials and devices of a user that a broker never creates. Each of them blocks the deletion of the
// user.
type extras struct {
	login              time.Time // creation of the login profile; zero means none
	devices            []extra   // MFA devices
	sshKeys            []extra
	certificates       []extra
	serviceCredentials []extra
}

type extra struct {
	id      string
	created time.Time
}

// extra returns the user's extras for writing.
func (u *user) extra() *extras {
	if u.extras == nil {
		u.extras = &extras{}
	}
	return u.extras
}

// peek returns the user's extras for reading.
func (u *user) peek() extras {
	if u.extras == nil {
		return extras{}
	}
	return *u.extras
}

func extraID(x extra) string { return x.id }

// removeExtra removes an extra and reports whether it was there.
func removeExtra(from *[]extra, id string) bool {
	before := len(*from)
	*from = slices.DeleteFunc(*from, func(x extra) bool { return x.id == id })
	return len(*from) < before
}

func (a *account) getLoginProfile(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	x := u.peek()
	if x.login.IsZero() {
		return nil, noSuchEntity("Login Profile for User %s cannot be found.", u.name)
	}
	return []node{element("LoginProfile",
		text("UserName", u.name), date("CreateDate", x.login), flag("PasswordResetRequired", false))}, nil
}

func (a *account) deleteLoginProfile(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	if u.peek().login.IsZero() {
		return nil, noSuchEntity("Login Profile for User %s cannot be found.", u.name)
	}
	u.extra().login = time.Time{}
	return nil, nil
}

func (a *account) listMFADevices(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "MFADevices", u.peek().devices, extraID, func(x extra) node {
		return member(text("UserName", u.name), text("SerialNumber", x.id), date("EnableDate", x.created))
	})
}

// deactivateMFADevice removes a device from its user. A virtual device continues to exist without a user.
func (a *account) deactivateMFADevice(r *request) ([]node, error) {
	serial, err := r.matching("SerialNumber", 9, 256, serialChars)
	if err != nil {
		return nil, err
	}
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	if !removeExtra(&u.extra().devices, serial) {
		return nil, noSuchEntity("MFA Device invalid for user.")
	}
	if _, ok := a.virtual[serial]; ok {
		a.virtual[serial] = nil
	}
	return nil, nil
}

func (a *account) deleteVirtualMFADevice(r *request) ([]node, error) {
	serial, err := r.matching("SerialNumber", 9, 256, serialChars)
	if err != nil {
		return nil, err
	}
	user, ok := a.virtual[serial]
	if !ok {
		return nil, noSuchEntity("VirtualMFADevice with serial number %s doesn't exist.", serial)
	}
	if user != nil {
		return nil, deleteConflict("MFA VirtualDevice in use. Must deactivate first.")
	}
	delete(a.virtual, serial)
	return nil, nil
}

func (a *account) listSSHPublicKeys(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "SSHPublicKeys", u.peek().sshKeys, extraID, func(x extra) node {
		return member(text("UserName", u.name), text("SSHPublicKeyId", x.id), text("Status", "Active"), date("UploadDate", x.created))
	})
}

func (a *account) deleteSSHPublicKey(r *request) ([]node, error) {
	return a.deleteExtra(r, "SSHPublicKeyId", 20, "The Public Key with id %s cannot be found.",
		func(x *extras) *[]extra { return &x.sshKeys })
}

func (a *account) listSigningCertificates(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "Certificates", u.peek().certificates, extraID, func(x extra) node {
		return member(text("UserName", u.name), text("CertificateId", x.id), text("CertificateBody", "-----BEGIN CERTIFICATE-----"),
			text("Status", "Active"), date("UploadDate", x.created))
	})
}

func (a *account) deleteSigningCertificate(r *request) ([]node, error) {
	return a.deleteExtra(r, "CertificateId", 24, "The Certificate with id %s cannot be found.",
		func(x *extras) *[]extra { return &x.certificates })
}

// listServiceSpecificCredentials lists the credentials of one service if the call has ServiceName.
func (a *account) listServiceSpecificCredentials(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	credentials := u.peek().serviceCredentials
	if r.form.Has("ServiceName") && r.get("ServiceName") != extraService {
		credentials = nil
	}
	return listed(r, "ServiceSpecificCredentials", credentials, extraID, func(x extra) node {
		return member(text("UserName", u.name), text("Status", "Active"), text("ServiceUserName", u.name+"-at-"+a.id),
			date("CreateDate", x.created), text("ServiceSpecificCredentialId", x.id), text("ServiceName", extraService))
	})
}

// extraService is the service of all service-specific credentials.
const extraService = "codecommit.amazonaws.com"

func (a *account) deleteServiceSpecificCredential(r *request) ([]node, error) {
	return a.deleteExtra(r, "ServiceSpecificCredentialId", 20, "No such credential %s exists.",
		func(x *extras) *[]extra { return &x.serviceCredentials })
}

// deleteExtra implements the delete calls that name an extra by its id.
func (a *account) deleteExtra(r *request, param string, minLength int, missing string, in func(*extras) *[]extra) ([]node, error) {
	id, err := r.matching(param, minLength, 128, keyIDChars)
	if err != nil {
		return nil, err
	}
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	if !removeExtra(in(u.extra()), id) {
		return nil, noSuchEntity(missing, id)
	}
	return nil, nil
}
