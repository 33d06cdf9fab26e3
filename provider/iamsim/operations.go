package iamsim

// operation is the implementation of an action.
type operation struct {
	service  service
	unsigned bool                                     // it has no signature
	changes  bool                                     // it changes a user and may fail with ConcurrentModification
	needs    func(*account, *request) permission      // the required permission; nil means none
	do       func(*account, *request) ([]node, error) // executes the call, with the lock held
}

// operations are the implemented actions by name.
var operations = map[string]operation{
	"CreateUser": {service: iam, changes: true, needs: onNewUser, do: (*account).createUser},
	"GetUser":    {service: iam, needs: onUser, do: (*account).getUser},
	"DeleteUser": {service: iam, changes: true, needs: onUser, do: (*account).deleteUser},
	"ListUsers":  {service: iam, needs: onUsers, do: (*account).listUsers},

	"TagUser":      {service: iam, changes: true, needs: onUser, do: (*account).tagUser},
	"UntagUser":    {service: iam, changes: true, needs: onUser, do: (*account).untagUser},
	"ListUserTags": {service: iam, needs: onUser, do: (*account).listUserTags},

	"PutUserPolicy":    {service: iam, changes: true, needs: onUser, do: (*account).putUserPolicy},
	"GetUserPolicy":    {service: iam, needs: onUser, do: (*account).getUserPolicy},
	"DeleteUserPolicy": {service: iam, changes: true, needs: onUser, do: (*account).deleteUserPolicy},
	"ListUserPolicies": {service: iam, needs: onUser, do: (*account).listUserPolicies},

	"AttachUserPolicy":         {service: iam, changes: true, needs: onUser, do: (*account).attachUserPolicy},
	"DetachUserPolicy":         {service: iam, changes: true, needs: onUser, do: (*account).detachUserPolicy},
	"ListAttachedUserPolicies": {service: iam, needs: onUser, do: (*account).listAttachedUserPolicies},

	"PutUserPermissionsBoundary":    {service: iam, changes: true, needs: onUser, do: (*account).putBoundary},
	"DeleteUserPermissionsBoundary": {service: iam, changes: true, needs: onUser, do: (*account).deleteBoundary},

	"AddUserToGroup":      {service: iam, changes: true, needs: onGroup, do: (*account).addUserToGroup},
	"RemoveUserFromGroup": {service: iam, changes: true, needs: onGroup, do: (*account).removeUserFromGroup},
	"ListGroupsForUser":   {service: iam, needs: onUser, do: (*account).listGroupsForUser},

	"CreateAccessKey":      {service: iam, changes: true, needs: onUser, do: (*account).createAccessKey},
	"DeleteAccessKey":      {service: iam, changes: true, needs: onUser, do: (*account).deleteAccessKey},
	"UpdateAccessKey":      {service: iam, changes: true, needs: onUser, do: (*account).updateAccessKey},
	"ListAccessKeys":       {service: iam, needs: onUser, do: (*account).listAccessKeys},
	"GetAccessKeyLastUsed": {service: iam, needs: onKeysUser, do: (*account).accessKeyLastUsed},

	"GetLoginProfile":                 {service: iam, needs: onUser, do: (*account).getLoginProfile},
	"DeleteLoginProfile":              {service: iam, changes: true, needs: onUser, do: (*account).deleteLoginProfile},
	"ListMFADevices":                  {service: iam, needs: onUser, do: (*account).listMFADevices},
	"DeactivateMFADevice":             {service: iam, changes: true, needs: onUser, do: (*account).deactivateMFADevice},
	"DeleteVirtualMFADevice":          {service: iam, needs: onDevice, do: (*account).deleteVirtualMFADevice},
	"ListSSHPublicKeys":               {service: iam, needs: onUser, do: (*account).listSSHPublicKeys},
	"DeleteSSHPublicKey":              {service: iam, changes: true, needs: onUser, do: (*account).deleteSSHPublicKey},
	"ListSigningCertificates":         {service: iam, needs: onUser, do: (*account).listSigningCertificates},
	"DeleteSigningCertificate":        {service: iam, changes: true, needs: onUser, do: (*account).deleteSigningCertificate},
	"ListServiceSpecificCredentials":  {service: iam, needs: onUser, do: (*account).listServiceSpecificCredentials},
	"DeleteServiceSpecificCredential": {service: iam, changes: true, needs: onUser, do: (*account).deleteServiceSpecificCredential},

	"PutRolePolicy":    {service: iam, needs: onRole, do: (*account).putRolePolicy},
	"GetRolePolicy":    {service: iam, needs: onRole, do: (*account).getRolePolicy},
	"DeleteRolePolicy": {service: iam, needs: onRole, do: (*account).deleteRolePolicy},

	"GetCallerIdentity":         {service: sts, do: (*account).callerIdentity},
	"GetSessionToken":           {service: sts, do: (*account).getSessionToken},
	"AssumeRole":                {service: sts, do: (*account).assumeRole}, // evaluates the policies of role and caller
	"AssumeRoleWithWebIdentity": {service: sts, unsigned: true, do: (*account).assumeRoleWithWebIdentity},
}
